'use strict'

const addon = require('./addon')
const { call, mustBeString, wrongType } = require('./error')

const same = (value) => value
const date = (time) => (time === null ? null : new Date(time))

// What an answer says, each with the way to JavaScript's own types.
const FIELDS = {
  domain: same,
  mode: same,
  source: same,
  id: same,
  fetched: date,
  expires: date,
  deferUntil: date,
  mx: Object.freeze,
  policyText: same,
  result: same,
  detail: same,
  warning: same,
  explanation: same,
}

// The answer of the addon behind one of ours.
let inner

// The method of a resolver that is for attempts alone.
const withAddon = Symbol('withAddon')

function ask(resolver, body, chain) {
  if (typeof resolver?.[withAddon] !== 'function') throw wrongType('resolver', 'a Resolver', resolver)
  return resolver[withAddon](body, chain)
}

// The answer of a lookup. It never changes.
class Answer {
  #answer

  static {
    for (const [name, convert] of Object.entries({ ...FIELDS, enforces: same, applies: same })) {
      const get = function () {
        return convert(call(() => this.#answer[name]))
      }
      Object.defineProperty(this.prototype, name, { get, configurable: true })
    }
    inner = (answer) => {
      if (!(#answer in Object(answer))) throw wrongType('answer', 'an Answer', answer)
      return answer.#answer
    }
  }

  constructor(answer) {
    if (!(answer instanceof addon.Answer)) throw new TypeError('an Answer is what a lookup gives')
    this.#answer = answer
  }

  allowsMx(host) {
    mustBeString('host', host)
    return call(() => this.#answer.allowsMx(host))
  }

  isSamePolicy(other) {
    const answer = inner(other)
    return call(() => this.#answer.isSamePolicy(answer))
  }

  verdictWithoutHost(why, hosts = []) {
    mustBeString('why', why)
    if (!Array.isArray(hosts)) throw wrongType('hosts', 'an array', hosts)
    for (const each of hosts) mustBeString('hosts[].host', each?.host)
    const names = hosts.map(({ host }) => host)
    const reasons = hosts.map(({ reasonCode }) => String(reasonCode ?? ''))
    return call(() => this.#answer.verdictWithoutHost(why, names, reasons))
  }

  toJSON() {
    return Object.fromEntries(Object.keys(FIELDS).map((name) => [name, this[name]]))
  }

  [Symbol.for('nodejs.util.inspect.custom')](depth, options, inspect) {
    return depth < 0 ? '[Answer]' : `Answer ${inspect(this.toJSON(), options)}`
  }
}

// One MX host in one attempt to deliver: it remembers what was seen there, and counts for a report.
class Attempt {
  #attempt

  constructor(answer, host, hosts) {
    const behind = inner(answer)
    mustBeString('host', host)
    if (hosts === undefined) this.#attempt = call(() => new addon.Attempt(behind, host))
    else if (hosts instanceof addon.Hosts) this.#attempt = call(() => addon.Attempt.withHosts(behind, host, hosts))
    else throw wrongType('hosts', 'what Resolver.hosts gives', hosts)
  }

  get host() {
    return call(() => this.#attempt.host)
  }

  get judge() {
    return call(() => this.#attempt.judge)
  }

  get enforces() {
    return call(() => this.#attempt.enforces)
  }

  get applies() {
    return call(() => this.#attempt.applies)
  }

  get sni() {
    return call(() => this.#attempt.sni)
  }

  get records() {
    return call(() => this.#attempt.records).map((record) => Buffer.from(record))
  }

  sawChain(resolver, chain) {
    return ask(resolver, (own) => call(() => this.#attempt.sawChain(own, chain)), chain)
  }

  saw(seen) {
    const sight = whatWasSeen(seen)
    return call(() => this.#attempt.saw(...sight))
  }

  finish({ channel = 'none', address, localAddress } = {}) {
    mustBeString('peer.channel', channel)
    if (address != null) mustBeString('peer.address', address)
    if (localAddress != null) mustBeString('peer.localAddress', localAddress)
    return call(() => this.#attempt.finish(channel, address ?? null, localAddress ?? null))
  }

  carries(resolver, sender, tlsRequired = '') {
    mustBeString('sender', sender)
    mustBeString('tlsRequired', tlsRequired)
    return ask(resolver, (own) => call(() => this.#attempt.carries(own, sender, tlsRequired)))
  }

  report(resolver) {
    return ask(resolver, (own) => call(() => this.#attempt.report(own)))
  }
}

// A sight as the addon takes it.
function whatWasSeen(seen) {
  if (typeof seen?.kind !== 'string') throw wrongType('seen', 'an object with a kind', seen)
  return [seen.kind, seen.result ?? null, String(seen.reason ?? '')]
}

module.exports = { Answer, Attempt, withAddon }
