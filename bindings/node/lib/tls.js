'use strict'

const addon = require('./addon')
const { call, mustBeString } = require('./error')

// For tls.connect: only the DNS names of the subjectAltName count (RFC 8461 4.2). Node's own function takes the common
// name where there is none.
function checkServerIdentity(hostname, cert) {
  const reason = mismatch(String(hostname), cert)
  if (reason === null) return undefined
  const error = new Error(reason)
  error.code = 'ERR_TLS_CERT_ALTNAME_INVALID'
  return Object.assign(error, { reason, host: hostname, cert })
}

function mismatch(hostname, cert) {
  if (!cert?.raw) return `there is no certificate for ${hostname}`
  try {
    const { result, reason } = addon.checkName(hostname, cert.raw)
    return result === null ? null : reason
  } catch (error) {
    // An address, or no host name: nothing can name it. tls.connect wants to be told, and not to be thrown at.
    return error.message
  }
}

// The result type of Node's error code of a failed TLS connection (RFC 8460 4.3).
function fromNode(code) {
  mustBeString('code', code)
  return call(() => addon.fromNode(code))
}

module.exports = { checkServerIdentity, fromNode }
