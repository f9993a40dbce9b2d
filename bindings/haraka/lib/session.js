'use strict'

// One connection to an MX host. Until TLS is up and the certificate has passed, it stands between the host's replies
// and Haraka: what comes in clear may come from anybody.

const net = require('node:net')

const { checkServerIdentity, fromNode } = require('mtasts')

// As Haraka reads a reply (outbound/hmail.js).
const REPLY = /^([2345]\d\d)([ -])#?(?:\d\.\d\.\d\s)?(.*)/

// More than any chain that the library takes.
const LONGEST_CHAIN = 16

class Session {
  // Where the dialogue is: greeting, ehlo, starttls, handshake.
  #stage = 'greeting'
  // Everything that the policy asks about was seen. The rest is between the host and Haraka.
  #settled = false
  #starttls = false
  #mismatch
  #item
  #attempt
  #address
  #socket

  constructor(item, attempt, address, socket) {
    this.#item = item
    this.#attempt = attempt
    this.#address = address
    this.#socket = socket
    // A name that the policy does not list is part of the result.
    attempt.saw({ kind: 'name' })
  }

  // After Haraka has put its listeners on the socket.
  stand_between() {
    const socket = this.#socket
    const readers = socket.listeners('line')
    socket.removeAllListeners('line')
    socket.on('line', (line) => {
      if (this.#read(line)) for (const reader of readers) reader.call(socket, line)
    })
    socket.prependListener('error', (err) => this.#failed(err))
    socket.prependListener('close', () => this.#failed(new Error('the host closed the connection')))
    const upgrade = socket.upgrade
    socket.upgrade = (options, report) => this.#upgrade(upgrade, options, report)
  }

  // Whether Haraka gets this line.
  #read(line) {
    if (this.#settled) return true
    // RFC 3207 6: what was sent in clear behind the answer to STARTTLS is not heard.
    if (this.#stage === 'handshake') return !this.#attempt.applies
    const [, code, mark, text] = REPLY.exec(line) ?? []
    if (this.#stage === 'ehlo' && text?.toUpperCase() === 'STARTTLS') this.#starttls = true
    if (mark === '-') return true
    const good = code?.startsWith('2') ?? false
    switch (this.#stage) {
      case 'greeting':
        this.#stage = 'ehlo'
        return good || this.#refuse(line)
      case 'ehlo':
        return this.#after_ehlo(code, good, line)
      default:
        return this.#after_starttls(good, line)
    }
  }

  #after_ehlo(code, good, line) {
    this.#stage = 'starttls'
    // 4xx says that the host is busy, and nothing about TLS.
    if (!good && code?.startsWith('5') !== true) return this.#refuse(line)
    if (good && this.#starttls) return true
    return this.#passes({ kind: 'starttls-not-offered' }, 'clear')
  }

  #after_starttls(good, line) {
    // Haraka waits for this event once it has sent STARTTLS. It does not, if its own settings say so.
    const asked = this.#socket.listenerCount('secure') > 0
    if (asked && !good) return this.#passes({ kind: 'starttls-refused' }, 'clear')
    if (asked) this.#stage = 'handshake'
    else this.#end('clear')
    return asked || this.#refuse(line)
  }

  // An answer in clear that would make Haraka give the mail up or go on without TLS. Where the policy is enforced it
  // only costs the host this attempt: anybody on the way may have sent it.
  #refuse(line) {
    if (!this.#attempt.enforces) return true
    return this.#leave(
      `answered in clear: ${line
        .trim()
        .slice(0, 200)
        .replace(/[^ -~]/g, '?')}`,
    )
  }

  // Whether the session may go on, in clear or under TLS, after all that was seen so far.
  #passes(seen, channel) {
    return this.#obeys(this.#saw(seen), channel)
  }

  #obeys(verdict, channel) {
    this.#end(channel)
    return verdict.delivers || this.#leave('passed over by its MTA-STS policy or its TLSA records')
  }

  #saw(seen) {
    return this.#said(this.#attempt.saw(seen))
  }

  #said(verdict) {
    if (this.#attempt.applies) this.#item.say(verdict, this.#attempt)
    return verdict
  }

  #end(channel) {
    this.#settled = true
    const { localAddress } = this.#socket
    const address = net.isIP(this.#address) ? this.#address : null
    this.#item.count(this.#attempt, { channel, address, localAddress })
  }

  // Haraka's own way to the next host.
  #leave(why) {
    this.#socket.write('QUIT\r\n')
    this.#socket.emit('error', new Error(`${this.#attempt.host} ${why}`))
    return false
  }

  #upgrade(upgrade, options, report) {
    const socket = this.#socket
    if (!this.#attempt.applies) {
      return upgrade.call(socket, options, (...args) => {
        this.#end('tls')
        report(...args)
      })
    }
    // Half a line, sent in clear behind the answer to STARTTLS, would be taken for the start of the first reply in TLS.
    socket.emit('data', '\n')
    // Haraka would speak as soon as the handshake is done, and before the certificate is judged.
    const waiting = socket.listeners('secure')
    socket.removeAllListeners('secure')
    const is_by_records = this.#attempt.sni != null
    upgrade.call(socket, this.#demand(options), (authorized, error, ...rest) => {
      // What Node.js says of the certificate means nothing then: it does not know the records.
      if (is_by_records) {
        if (!this.#obeys(this.#judged_by_records(), 'tls')) return
        socket.cleartext.authorized = true
        report(true, null, ...rest)
        for (const listener of waiting) listener.call(socket)
        return
      }
      const check = this.#verify() ?? this.#certificate(authorized ? null : error)
      if (!this.#passes({ kind: 'certificate', ...check }, 'tls')) return
      const good = check.result === null
      // Where the policy only tests, the operator may still demand a good certificate: Haraka sees what it would see of
      // Node.js.
      if (!good && options.rejectUnauthorized) return socket.cleartext.destroy(new Error(check.reason))
      report(good, good ? null : (error ?? check.reason), ...rest)
      for (const listener of waiting) listener.call(socket)
    })
  }

  #demand(options) {
    const demand = {
      ...options,
      // Only a subjectAltName counts (RFC 8461 4.2), whatever name Haraka asks with.
      checkServerIdentity: (_, cert) => {
        const error = checkServerIdentity(this.#attempt.host, cert)
        this.#mismatch = error?.message
        return error
      },
    }
    const { enforces, sni } = this.#attempt
    if (sni != null) {
      // RFC 7672 8.1: the TLSA base domain; and no CA has to vouch.
      Object.assign(demand, { servername: sni, rejectUnauthorized: false, checkServerIdentity: () => undefined })
    } else if (this.#item.own_judge) demand.rejectUnauthorized = false
    else if (this.#item.answer.enforces) demand.rejectUnauthorized = true
    if (enforces && demand.minVersion !== 'TLSv1.3') demand.minVersion = 'TLSv1.2'
    return demand
  }

  // What the library finds, where it is to judge: the chain is there as the host sent it.
  #verify() {
    const judge = this.#item.own_judge
    if (!judge) return null
    const { cleartext } = this.#socket
    let check
    try {
      check = judge.verifyCertificate(this.#attempt.host, this.#chain())
    } catch (err) {
      check = { result: 'validation-failure', reason: err.message }
    }
    // Haraka asks the socket again before it sends anything.
    cleartext.authorized = check.result === null
    return check
  }

  // The chain as the host sent it.
  #chain() {
    const chain = []
    let cert = this.#socket.cleartext.getPeerX509Certificate()
    for (; cert && chain.length < LONGEST_CHAIN; cert = cert.issuerCertificate) chain.push(cert.raw)
    return chain
  }

  #judged_by_records() {
    try {
      return this.#said(this.#attempt.sawChain(this.#item.resolver, this.#chain()))
    } catch (err) {
      return this.#saw({ kind: 'certificate', result: 'validation-failure', reason: err.message })
    }
  }

  #certificate(code) {
    if (!code) return { result: null, reason: '' }
    const { result, reason } = fromNode(String(code))
    return { result, reason: this.#mismatch ?? reason }
  }

  // An error of the connection, before Haraka hears of it.
  #failed(err) {
    if (this.#settled) return
    if (this.#stage !== 'handshake') return this.#end('none')
    const code = this.#socket.cleartext?.authorizationError
    const seen = code
      ? { kind: 'certificate', ...this.#certificate(code) }
      : { kind: 'handshake-failed', reason: explain(err) }
    const { delivers } = this.#saw(seen)
    this.#end('clear')
    // An error of TLS makes Haraka mark the address in redis: a week of mail in clear for every domain there.
    if (!delivers && err instanceof Error) err.source = 'mta-sts'
  }
}

// What OpenSSL says in few words, else what Node says.
function explain(err) {
  const text = err.reason ?? err.message ?? String(err)
  return err.code ? `${text} (${err.code})` : text
}

module.exports = Session
