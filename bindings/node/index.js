'use strict'

const addon = require('./lib/addon')
const { Answer } = require('./lib/answer')
const { MtaStsError, wrongType } = require('./lib/error')
const { Resolver } = require('./lib/resolver')
const { checkServerIdentity, fromNode } = require('./lib/tls')

// The words of the library as constants: `certificate-expired` is CERTIFICATE_EXPIRED.
function constants(words) {
  return Object.freeze(Object.fromEntries(words.map((word) => [word.toUpperCase().replaceAll('-', '_'), word])))
}

let host
// The resolver with the settings of this host.
function ofHost() {
  host ??= new Resolver()
  return host
}

function mustBeAnswer(answer) {
  if (!(answer instanceof Answer)) throw wrongType('answer', 'an Answer', answer)
}

module.exports = {
  Action: constants(['deliver', 'deliver-and-report', 'skip-host', 'defer']),
  Answer,
  Mode: constants(['enforce', 'testing', 'none']),
  MtaStsError,
  Resolver,
  ResultType: constants(addon.resultNames()),
  allowsMx(answer, mxHost) {
    mustBeAnswer(answer)
    return answer.allowsMx(mxHost)
  },
  checkServerIdentity,
  fromNode,
  lookup: async (domain, options) => ofHost().lookup(domain, options),
  lookupCached: (domain) => ofHost().lookupCached(domain),
  recheck: async (domain, options) => ofHost().recheck(domain, options),
  verdict(answer, mxHost, seen) {
    mustBeAnswer(answer)
    return answer.verdict(mxHost, seen)
  },
  verifyCertificate: (mxHost, chain, at) => ofHost().verifyCertificate(mxHost, chain, at),
  version: addon.version(),
}
