'use strict'

// One connection to an MX host. Until TLS is up and the certificate has passed, it stands between the host's replies
// and Haraka: what comes in clear may come from anybody.

const { checkServerIdentity, fromNode } = require('mtasts')

// As Haraka reads a reply (outbound/hmail.js).
const REPLY = /^([2345]\d\d)([ -])#?(?:\d\.\d\.\d\s)?(.*)/

// More than any chain that the library takes.
const LONGEST_CHAIN = 16

class Session {
  // Where the dialogue is: greeting, ehlo, starttls, handshake, and then either secured or clear.
  #stage = 'greeting'
  #starttls = false
  #mismatch
  #item
  #host
  #address
  #socket

  constructor(item, host, address, socket) {
    this.#item = item
    this.#host = host
    this.#address = address
    this.#socket = socket
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
    const upgrade = socket.upgrade
    socket.upgrade = (options, report) => this.#upgrade(upgrade, options, report)
  }

  // Whether Haraka gets this line.
  #read(line) {
    if (this.#stage === 'secured' || this.#stage === 'clear') return true
    // RFC 3207 6: what was sent in clear behind the answer to STARTTLS is not heard.
    if (this.#stage === 'handshake') return false
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
    this.#stage = 'clear'
    return this.#passes({ kind: 'starttls-not-offered' })
  }

  #after_starttls(good, line) {
    // Haraka waits for this event once it has sent STARTTLS. It does not, if its own settings say so.
    const asked = this.#socket.listenerCount('secure') > 0
    this.#stage = asked && good ? 'handshake' : 'clear'
    if (!asked) return this.#refuse(line)
    return good || this.#passes({ kind: 'starttls-refused' })
  }

  // An answer in clear that would make Haraka give the mail up or go on without TLS. Where the policy is enforced it
  // only costs the host this attempt: anybody on the way may have sent it.
  #refuse(line) {
    if (!this.#item.enforces) return true
    return this.#leave(
      `answered in clear: ${line
        .trim()
        .slice(0, 200)
        .replace(/[^ -~]/g, '?')}`,
    )
  }

  #passes(seen) {
    const { action } = this.#item.judge(this.#host, seen, this.#address)
    const passes = action === 'deliver' || action === 'deliver-and-report'
    return passes || this.#leave('passed over by its MTA-STS policy')
  }

  // Haraka's own way to the next host.
  #leave(why) {
    this.#socket.write('QUIT\r\n')
    this.#socket.emit('error', new Error(`${this.#host} ${why}`))
    return false
  }

  #upgrade(upgrade, options, report) {
    const socket = this.#socket
    // Half a line, sent in clear behind the answer to STARTTLS, would be taken for the start of the first reply in TLS.
    socket.emit('data', '\n')
    // Haraka would speak as soon as the handshake is done, and before the certificate is judged.
    const waiting = socket.listeners('secure')
    socket.removeAllListeners('secure')
    upgrade.call(socket, this.#demand(options), (authorized, error, ...rest) => {
      this.#stage = 'secured'
      const check = this.#verify() ?? this.#certificate(authorized ? null : error)
      if (!this.#passes({ kind: 'certificate', ...check })) return
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
        const error = checkServerIdentity(this.#host, cert)
        this.#mismatch = error?.message
        return error
      },
    }
    if (this.#item.own_judge) demand.rejectUnauthorized = false
    else if (this.#item.enforces) demand.rejectUnauthorized = true
    if (this.#item.enforces && demand.minVersion !== 'TLSv1.3') demand.minVersion = 'TLSv1.2'
    return demand
  }

  // What the library finds, where it is to judge: the chain is there as the host sent it.
  #verify() {
    const judge = this.#item.own_judge
    if (!judge) return null
    const { cleartext } = this.#socket
    let check
    try {
      const chain = []
      let cert = cleartext.getPeerX509Certificate()
      for (; cert && chain.length < LONGEST_CHAIN; cert = cert.issuerCertificate) chain.push(cert.raw)
      check = judge.verifyCertificate(this.#host, chain)
    } catch (err) {
      check = { result: 'validation-failure', reason: err.message }
    }
    // Haraka asks the socket again before it sends anything.
    cleartext.authorized = check.result === null
    return check
  }

  #certificate(code) {
    if (!code) return { result: null, reason: '' }
    const { result, reason } = fromNode(String(code))
    return { result, reason: this.#mismatch ?? reason }
  }

  // An error of the connection, before Haraka hears of it.
  #failed(err) {
    if (this.#stage !== 'handshake') return
    this.#stage = 'clear'
    const code = this.#socket.cleartext?.authorizationError
    const seen = code
      ? { kind: 'certificate', ...this.#certificate(code) }
      : { kind: 'handshake-failed', reason: explain(err) }
    const { action } = this.#item.judge(this.#host, seen, this.#address)
    // An error of TLS makes Haraka mark the address in redis: a week of mail in clear for every domain there.
    if (action === 'skip-host' && err instanceof Error) err.source = 'mta-sts'
  }
}

// What OpenSSL says in few words, else what Node says.
function explain(err) {
  const text = err.reason ?? err.message ?? String(err)
  return err.code ? `${text} (${err.code})` : text
}

module.exports = Session
