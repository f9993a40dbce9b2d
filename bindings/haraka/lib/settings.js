'use strict'

// What may be in mta-sts.ini. Haraka's own reader takes a boolean that it does not know for false, and keeps a key that it
// does not know. So a typing error could switch the protection off.

const TRUE = /^(?:true|yes|ok|enabled|on|1)$/i
const FALSE = /^(?:false|no|disabled|off|0)$/i

function boolean(text) {
  if (TRUE.test(text)) return true
  if (FALSE.test(text)) return false
  throw new Error(`${text} is neither true nor false`)
}

function seconds(text) {
  if (Number(text) >= 1) return Number(text)
  throw new Error(`${text} is not 1 or more`)
}

const file = (text) => text

// The settings of [main], each with its default and how it is read.
const SETTINGS = {
  enabled: [true, boolean],
  lookup_timeout: [10, seconds],
  settings_file: ['', file],
  ca_file: ['', file],
  check_routes: [false, boolean],
}

function read({ main, ...others }) {
  const [section] = Object.keys(others)
  if (section !== undefined) throw new Error(`mta-sts.ini: [${section}] is not a section; all settings are in [main]`)
  const cfg = Object.fromEntries(Object.entries(SETTINGS).map(([key, [value]]) => [key, value]))
  for (const [key, value] of Object.entries(main)) {
    if (!Object.hasOwn(SETTINGS, key)) {
      throw new Error(`mta-sts.ini: ${key} is not a setting; there are ${Object.keys(SETTINGS).join(', ')}`)
    }
    try {
      cfg[key] = SETTINGS[key][1](String(value))
    } catch (err) {
      throw new Error(`mta-sts.ini: ${key}: ${err.message}`, { cause: err })
    }
  }
  return cfg
}

module.exports = { SETTINGS, read }
