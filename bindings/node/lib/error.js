'use strict'

// What went wrong. `code` says what, and starts with ERR_MTASTS_.
class MtaStsError extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }

  get name() {
    return 'MtaStsError'
  }
}

// Calls the addon, whose errors have a code but are of no class of ours.
function call(body) {
  try {
    return body()
  } catch (error) {
    throw String(error.code).startsWith('ERR_MTASTS_') ? new MtaStsError(error.code, error.message) : error
  }
}

// An argument of the wrong type, told as Node does.
function wrongType(name, expected, value) {
  const given = value === null ? 'null' : typeof value
  const error = new TypeError(`The "${name}" argument must be ${expected}. Received ${given}`)
  error.code = 'ERR_INVALID_ARG_TYPE'
  return error
}

function mustBeString(name, value) {
  if (typeof value !== 'string') throw wrongType(name, 'of type string', value)
}

module.exports = { MtaStsError, call, mustBeString, wrongType }
