'use strict'

// One mail on its way to one domain: Haraka's HMailItem. Its own methods are laid over those of its class, and no other
// item notices.

const net = require('node:net')

const Session = require('./session')

// Where other plugins find what became of the attempts (see the README).
const ITEM = Symbol.for('haraka-plugin-mta-sts')
// How many hosts a bounce names.
const MOST_NAMED = 5
// On an MX: the name by which the policy knows it. Haraka replaces `exchange` by an address.
const HOST = Symbol('MX host name')

// What of HMailItem is overridden or called, with the number of arguments.
const methods = {
  convert_temp_failed_to_bounce: 2,
  extend_rcpt_with_dsn: 2,
  found_mx: 1,
  get_force_tls: 1,
  get_mx: 0,
  temp_fail: 2,
  try_deliver: 0,
  try_deliver_host_on_socket: 4,
}
const overridden = [
  'convert_temp_failed_to_bounce',
  'found_mx',
  'get_force_tls',
  'try_deliver',
  'try_deliver_host_on_socket',
]

class Item {
  // What each MX host was found to be, since the last look at the queue.
  results = []
  // What the library knows of the domain; null while it is not known, and where the domain can have no policy.
  answer = null
  // Why the mail cannot be sent.
  trouble = ''
  // An MX host was passed over.
  #refused = false
  // The policy was looked up again before a bounce.
  #rechecked = false
  #haraka = {}
  #hmail
  #plugin

  constructor(hmail, plugin) {
    this.#hmail = hmail
    this.#plugin = plugin
    for (const name of overridden) {
      this.#haraka[name] = hmail[name].bind(hmail)
      hmail[name] = (...args) => this[name](...args)
    }
  }

  get #domain() {
    return this.#hmail.todo.domain
  }

  // A host that fails the policy gets nothing.
  get enforces() {
    return this.answer?.mode === 'enforce'
  }

  // Who judges certificates where the operator names the roots, else null: Node.js does, with its own. Given a file, Node.js
  // would read it anew for each connection; with the roots of a whole system that blocks Haraka for some 20 ms.
  get own_judge() {
    const { resolver } = this.#plugin
    return resolver.caFile === null ? null : resolver
  }

  // A new attempt, of which nothing is known.
  begin() {
    this.results = []
    this.answer = null
    this.trouble = `the lookup of the MTA-STS policy of ${this.#domain} did not finish in time`
    this.#refused = false
  }

  async learn() {
    try {
      this.answer = await this.#plugin.resolver.lookup(this.#domain, { timeout: this.#plugin.time_for_lookup() })
      this.trouble = ''
    } catch (err) {
      const can_have_none = err.code === 'ERR_MTASTS_NAME' || err.code === 'ERR_MTASTS_ADDRESS'
      this.trouble = can_have_none ? '' : `cannot look up the MTA-STS policy of ${this.#domain}: ${err.message}`
    }
  }

  // The one place that all lists of MX hosts come through, wherever they are from.
  async found_mx(mxs) {
    const routed = (mx) => !mx.from_dns && !this.#plugin.cfg.check_routes
    if (mxs.length > 0 && mxs.every(routed)) return this.#haraka.found_mx(mxs)
    if (this.trouble) return this.#wait(this.trouble)
    if (!this.answer) return this.#haraka.found_mx(mxs)

    const allowed = []
    for (const mx of mxs) {
      if (!routed(mx)) {
        // Without an MX record the domain is its own MX host (RFC 5321 5.1), and `exchange` is an address.
        const host = net.isIP(mx.exchange) && mx.from_dns ? mx.from_dns : mx.exchange
        const verdict = this.judge(host, { kind: 'name' })
        if (verdict.action === 'defer') return this.#wait(verdict.sentence)
        if (verdict.action === 'skip-host') continue
        if (this.answer.mode !== 'none') mx[HOST] = host
      }
      allowed.push(mx)
    }
    if (allowed.length > 0) return this.#haraka.found_mx(allowed)
    this.#hmail.mxlist = []
    return this.try_deliver()
  }

  get_force_tls(mx) {
    return this.#haraka.get_force_tls(mx) || (mx[HOST] !== undefined && this.enforces)
  }

  async try_deliver() {
    if (this.#hmail.mxlist.length > 0 || !this.#refused) return this.#haraka.try_deliver()
    const failed = this.results.filter(({ action }) => action === 'skip-host')
    const hosts = failed.slice(0, MOST_NAMED).map(({ host, reasonCode }) => `${host}: ${reasonCode}`)
    const { sentence } = this.#verdict(this.#domain, { kind: 'no-host-left' })
    return this.#wait(hosts.length > 0 ? `${sentence} [${hosts.join('; ')}]` : sentence)
  }

  try_deliver_host_on_socket(mx, address, port, socket) {
    if (mx[HOST] === undefined) return this.#haraka.try_deliver_host_on_socket(mx, address, port, socket)
    const session = new Session(this, mx[HOST], address, socket)
    this.#haraka.try_deliver_host_on_socket(mx, address, port, socket)
    session.stand_between()
  }

  // The retries are used up. RFC 8461 5: if there is a newer policy, the mail is tried once more.
  async convert_temp_failed_to_bounce(err, extra) {
    if (this.#refused && !this.#rechecked && (await this.#has_changed())) {
      this.#hmail.num_failures--
      return this.#hmail.get_mx()
    }
    return this.#haraka.convert_temp_failed_to_bounce(err, extra)
  }

  async #has_changed() {
    this.#rechecked = true
    try {
      const now = await this.#plugin.resolver.recheck(this.#domain, { timeout: this.#plugin.time_for_lookup() })
      const asks = ({ mode, id, mx }) => JSON.stringify([mode, id, mx])
      if (asks(now) === asks(this.answer)) return false
      this.#plugin.lognotice(`${now.explanation}; this policy is new, so the mail is tried once more`, this.#hmail)
      return true
    } catch (err) {
      this.#plugin.logerror(`cannot look for a newer MTA-STS policy of ${this.#domain}: ${err.message}`, this.#hmail)
      return false
    }
  }

  // What to do about a host after what was seen there; into the log and the results as well.
  judge(host, seen, address) {
    const verdict = this.#verdict(host, seen)
    const { action, result, reasonCode, sentence } = verdict
    if (action === 'skip-host') this.#refused = true
    const passes = action === 'deliver' || action === 'deliver-and-report'
    // A host that is yet to be connected to has neither passed nor failed. Only where no policy is known, nothing else
    // will be told.
    const first = seen.kind === 'name' && passes
    if (first && (this.answer.mode !== 'none' || result === null)) return verdict
    this.results.push({ time: new Date(), host, address, action, result, reasonCode })
    const level = !passes ? 'logwarn' : result ? 'lognotice' : 'loginfo'
    const token = reasonCode.split(':', 1)[0] || action
    this.#plugin[level](`mtasts[${token}]: ${sentence}`, this.#hmail)
    return verdict
  }

  #verdict(host, seen) {
    try {
      return this.answer.verdict(host, seen)
    } catch (err) {
      // A name in an MX record that is no host name: no policy can list it.
      const action = this.enforces ? 'skip-host' : 'deliver'
      const reasonCode = this.enforces ? 'mx-host-not-in-policy' : ''
      return { action, result: null, reasonCode, sentence: `${err.message} (an MX record of ${this.#domain})` }
    }
  }

  #wait(text) {
    // RFC 3463 3.8: other or undefined security status.
    const dsn = { code: 450, msg: text, cls: 4, sub: 7, det: 0 }
    for (const rcpt of this.#hmail.todo.rcpt_to) this.#hmail.extend_rcpt_with_dsn(rcpt, dsn)
    this.#hmail.temp_fail(text)
  }
}

function arm(hmail, plugin) {
  const item = (hmail[ITEM] ??= new Item(hmail, plugin))
  item.begin()
  return item
}

function disarm(hmail) {
  if (!hmail[ITEM]) return
  for (const name of overridden) delete hmail[name]
  delete hmail[ITEM]
}

module.exports = { arm, disarm, methods }
