'use strict'

const addon = require('./lib/addon')
const { Answer, Attempt } = require('./lib/answer')
const { MtaStsError } = require('./lib/error')
const { Resolver } = require('./lib/resolver')
const { checkServerIdentity, fromNode } = require('./lib/tls')

// The words of the library as constants: `certificate-expired` is CERTIFICATE_EXPIRED.
function constants(kind) {
  const entries = addon.words(kind).map((word) => [word.toUpperCase().replaceAll('-', '_'), word])
  return Object.freeze(Object.fromEntries(entries))
}

let host
// The resolver with the settings of this host.
function ofHost() {
  host ??= new Resolver()
  return host
}

module.exports = {
  Action: constants('Action'),
  Answer,
  Attempt,
  Mode: constants('Mode'),
  MtaStsError,
  Resolver,
  ResultType: constants('ResultType'),
  Source: constants('Source'),
  checkServerIdentity,
  fromNode,
  lookup: async (domain, options) => ofHost().lookup(domain, options),
  lookupCached: (domain) => ofHost().lookupCached(domain),
  recheck: async (domain, options) => ofHost().recheck(domain, options),
  verifyCertificate: (mxHost, chain, at) => ofHost().verifyCertificate(mxHost, chain, at),
  version: addon.version(),
}
