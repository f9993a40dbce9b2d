'use strict'

// One mail on its way to one domain: Haraka's HMailItem. Its own methods are laid over those of its class, and no other
// item notices.

const dns = require('node:dns/promises')
const net = require('node:net')

const { Attempt, Source } = require('mtasts')

const Session = require('./session')

// Where other plugins find what became of the attempts (see the README).
const ITEM = Symbol.for('haraka-plugin-mta-sts')
// On an MX: the name by which the policy knows it. Haraka replaces `exchange` by an address.
const HOST = Symbol('MX host name')

// On an MX: it gets no mail without TLS.
const NEEDS_TLS = Symbol('needs TLS')

// In the notes of a mail: what its header says of TLS (RFC 8689).
const TLS_REQUIRED = 'mta-sts: TLS-Required'

// What of HMailItem is overridden or called, with the number of arguments.
const methods = {
  bounce: 2,
  convert_temp_failed_to_bounce: 2,
  extend_rcpt_with_dsn: 2,
  found_mx: 1,
  get_force_tls: 1,
  get_mx: 0,
  get_mx_respond: 2,
  temp_fail: 2,
  try_deliver: 0,
  try_deliver_host_on_socket: 4,
}
const overridden = [
  'bounce',
  'convert_temp_failed_to_bounce',
  'found_mx',
  'get_force_tls',
  'get_mx_respond',
  'try_deliver',
  'try_deliver_host_on_socket',
]

// What a plugin answers to get_mx in place of DNS (haraka-constants): no mail to this domain.
const DENY = 902

class Item {
  // What a report counts of each session, since the last look at the queue.
  results = []
  // What the library knows of the domain; null while it is not known.
  answer = null
  // What DANE says of the MX hosts.
  #dane
  // Why the mail cannot be sent.
  trouble = ''
  // The policy was asked for, in this attempt.
  #asked = false
  // DNS was asked for the MX hosts, and has not given any yet.
  #asks_dns = false
  // Those that it gave, each with what the policy refused it for.
  #hosts = new Map()
  // The policy is why the mail is not delivered.
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

  get #stops() {
    return this.#plugin.stop.signal.aborted
  }

  get resolver() {
    return this.#plugin.resolver
  }

  // Who judges certificates if the operator names the roots, else null: Node.js does, with its own. Given a file, Node.js
  // would read it anew for each connection; with the roots of a whole system that blocks Haraka for some 20 ms.
  get own_judge() {
    const { resolver } = this.#plugin
    return resolver.caFile === null ? null : resolver
  }

  // A new attempt, of which nothing is known.
  begin() {
    this.results = []
    this.answer = null
    this.#asked = false
    this.trouble = `the lookup of the MTA-STS policy of ${this.#domain} did not finish in time`
    this.#asks_dns = false
    this.#hosts.clear()
    this.#refused = false
  }

  async learn() {
    this.#asked = true
    try {
      this.answer = await this.#plugin.resolver.lookup(this.#domain, this.#plugin.lookup_options())
      this.trouble = ''
      // Nothing else shows that somebody keeps DNS or the policy host from announcing a policy.
      if (this.answer.source === Source.COULD_NOT_LEARN) this.#plugin.lognotice(this.answer.explanation, this.#hmail)
    } catch (err) {
      this.trouble = `the MTA-STS policy of ${this.#domain} could not be determined: ${err.message}`
      if (!this.#stops) this.#plugin.say_once('logerror', `mail waits: ${err.message}`)
    }
  }

  // With the setting `dane` off nothing is asked. A domain that is not a name has no DANE.
  async #learn_of_hosts(names) {
    this.#dane = undefined
    if (this.answer.domain === null) return
    try {
      const { timeout } = this.#plugin.lookup_options()
      this.#dane = await this.resolver.hosts(this.answer.domain, names, { timeout })
    } catch (err) {
      this.trouble = `the MX hosts of ${this.#domain} could not be looked up for DANE: ${err.message}`
      if (!this.#stops) this.#plugin.say_once('logerror', `mail waits: ${err.message}`)
    }
  }

  get_mx_respond(retval, mx) {
    this.#asks_dns = retval !== DENY
    return this.#haraka.get_mx_respond(retval, mx)
  }

  // The one place that all lists of MX hosts come through, wherever they are from.
  async found_mx(mxs) {
    const routed = (mx) => !mx.from_dns && !this.#plugin.cfg.check_routes
    this.#asks_dns = false
    if (mxs.length > 0 && mxs.every(routed)) {
      const route = mxs.map(({ exchange, path }) => exchange ?? path).join(', ')
      this.#plugin.loginfo(
        `the route to ${route} is another plugin's: no MTA-STS policy applies (check_routes)`,
        this.#hmail,
      )
      return this.#haraka.found_mx(mxs)
    }
    // A plugin that comes before this one has answered to get_mx.
    if (!this.#asked) await this.learn()
    if (this.trouble) return this.#wait_or_leave()
    if (mxs.length === 1 && mxs[0].exchange === '') {
      return this.#contradicts('null-mx') || this.#haraka.found_mx(mxs)
    }

    // Without an MX record the domain is its own MX host (RFC 5321 5.1), and `exchange` is an address.
    const name_of = (mx) => (net.isIP(mx.exchange) && mx.from_dns ? mx.from_dns : mx.exchange)
    await this.#learn_of_hosts(mxs.filter((mx) => !routed(mx)).map(name_of))
    if (this.trouble) return this.#wait_or_leave()
    const allowed = []
    for (const mx of mxs) {
      if (!routed(mx)) {
        const host = name_of(mx)
        const attempt = new Attempt(this.answer, host, this.#dane)
        const verdict = attempt.saw({ kind: 'name' })
        this.#hosts.set(attempt.host, '')
        if (verdict.defers) return this.#wait(verdict.sentence)
        if (!verdict.delivers) {
          this.say(verdict, attempt)
          this.count(attempt)
          continue
        }
        mx[HOST] = host
        mx[NEEDS_TLS] = attempt.enforces
      }
      allowed.push(mx)
    }
    if (allowed.length > 0) return this.#haraka.found_mx(allowed)
    this.#hmail.mxlist = []
    return this.try_deliver()
  }

  get_force_tls(mx) {
    return this.#haraka.get_force_tls(mx) || (mx[HOST] !== undefined && mx[NEEDS_TLS])
  }

  async try_deliver() {
    if (this.#hmail.mxlist.length === 0 && this.#refused && this.#contradicts('left')) return
    return this.#haraka.try_deliver()
  }

  try_deliver_host_on_socket(mx, address, port, socket) {
    if (mx[HOST] === undefined) return this.#haraka.try_deliver_host_on_socket(mx, address, port, socket)
    const session = new Session(this, new Attempt(this.answer, mx[HOST], this.#dane), address, socket)
    this.#haraka.try_deliver_host_on_socket(mx, address, port, socket)
    session.stand_between()
  }

  // DNS says that there is no MX host, and Haraka would bounce the mail for it. If that contradicts a policy in force, the
  // mail waits: one forged answer must not lose it.
  async bounce(err, opts) {
    const denied = this.#asks_dns
    this.#asks_dns = false
    if (denied && !this.#asked) await this.learn()
    if (denied && this.trouble) return this.#wait_or_leave()
    if (denied && this.#contradicts(await this.#why_no_host())) return
    return this.#haraka.bounce(err, opts)
  }

  // Haraka does not tell NXDOMAIN from NODATA. If DNS says something else by now, its word is not to be trusted either.
  async #why_no_host() {
    const codes = { ENOTFOUND: 'nxdomain', ENODATA: 'nodata' }
    return dns.resolveMx(this.answer.domain ?? this.#domain).then(
      () => 'left',
      (err) => codes[err.code] ?? 'left',
    )
  }

  // Whether the mail waits for there being no host.
  #contradicts(why) {
    const hosts = Array.from(this.#hosts, ([host, reasonCode]) => ({ host, reasonCode }))
    const verdict = this.answer.verdictWithoutHost(why, hosts)
    if (verdict.defers) this.#wait(verdict.sentence)
    // What Haraka makes of it is not said here.
    else if (this.answer.applies) this.#plugin.lognotice(verdict.sentence, this.#hmail)
    return verdict.defers
  }

  // The retries are used up. RFC 8461 5: if there is a newer policy, the mail is tried once more.
  async convert_temp_failed_to_bounce(err, extra) {
    this.#asks_dns = false
    if (this.#refused && !this.#rechecked) {
      const has_changed = await this.#has_changed()
      if (this.#stops) return this.#leave()
      if (has_changed) {
        this.#hmail.num_failures--
        this.begin()
        return this.#hmail.get_mx()
      }
    }
    return this.#haraka.convert_temp_failed_to_bounce(err, extra)
  }

  async #has_changed() {
    this.#rechecked = true
    try {
      const now = await this.#plugin.resolver.recheck(this.#domain, this.#plugin.lookup_options())
      if (now.isSamePolicy(this.answer)) return false
      this.#plugin.lognotice(`${now.explanation}; the policy is new, the mail is tried once more`, this.#hmail)
      return true
    } catch (err) {
      if (this.#stops) return false
      this.#plugin.logerror(`cannot look for a newer MTA-STS policy of ${this.#domain}: ${err.message}`, this.#hmail)
      return false
    }
  }

  // A verdict of the library for the log. One that refuses a host may be why the mail cannot be delivered.
  say({ action, delivers, reasonCode, result, sentence }, { host }) {
    if (!delivers) {
      this.#refused = true
      this.#hosts.set(host, reasonCode)
    }
    const level = !delivers ? 'logwarn' : result ? 'lognotice' : 'loginfo'
    const token = reasonCode.split(':', 1)[0] || action
    this.#plugin[level](`mtasts[${token}]: ${sentence}`, this.#hmail)
  }

  // What a report counts of an attempt, if anything.
  count(attempt, peer) {
    const { mail_from, notes } = this.#hmail.todo
    const sender = mail_from?.user ? `${mail_from.user}@${mail_from.host}` : ''
    if (!this.#stops) attempt.carries(this.resolver, sender, notes?.[TLS_REQUIRED])
    for (let event = attempt.finish(peer); event; event = attempt.finish(peer)) {
      this.results.push({ time: new Date(), ...event })
    }
    if (!this.#stops) attempt.report(this.resolver)
  }

  #wait_or_leave() {
    return this.#stops ? this.#leave() : this.#wait(this.trouble)
  }

  // Haraka stops, and the lookup was given up: the queue file stays as it is, so that the stop costs the mail no attempt.
  #leave() {
    this.#plugin.lognotice('Haraka stops: the mail stays in the queue as it is', this.#hmail)
    this.#hmail.next_cb()
  }

  #wait(text) {
    this.#refused ||= Boolean(this.answer)
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

module.exports = { TLS_REQUIRED, arm, disarm, methods }
