'use strict'

// The first words with an MX host, up to the TLS handshake.

const net = require('node:net')
const readline = require('node:readline')
const tls = require('node:tls')
const { once } = require('node:events')

// The answer of the host: its code and its lines.
async function reply(lines) {
  const texts = []
  for (;;) {
    const { value, done } = await lines.next()
    if (done) throw new Error('the host hangs up')
    texts.push(value.slice(4))
    if (value[3] !== '-') return { code: Number(value.slice(0, 3)), texts }
  }
}

// Says EHLO and STARTTLS; resolves to the socket, or to what was seen instead.
async function starttls(host) {
  const socket = net.connect({ host, port: 25, timeout: 10_000 })
  socket.on('timeout', () => socket.destroy(new Error('the host says nothing')))
  await once(socket, 'connect')
  const interface_ = readline.createInterface({ input: socket, crlfDelay: Infinity })
  const lines = interface_[Symbol.asyncIterator]()
  await reply(lines)
  socket.write('EHLO client.test\r\n')
  const { texts } = await reply(lines)
  let seen
  if (!texts.some((text) => text.toUpperCase() === 'STARTTLS')) seen = { kind: 'starttls-not-offered' }
  else {
    socket.write('STARTTLS\r\n')
    const { code } = await reply(lines)
    if (code !== 220) seen = { kind: 'starttls-refused' }
  }
  if (seen) {
    socket.destroy()
    return { seen }
  }
  interface_.close()
  socket.removeAllListeners('data')
  socket.pause()
  return { socket }
}

// Shakes hands; resolves to what Node makes of it: its code, or that of the verification.
async function handshake(socket, host, options) {
  const secure = tls.connect({ socket, servername: host, ...options })
  try {
    await once(secure, 'secureConnect')
    const chain = []
    for (
      let cert = secure.getPeerCertificate(true);
      cert?.raw && !chain.includes(cert.raw);
      cert = cert.issuerCertificate
    ) {
      if (chain.some((der) => der.equals(cert.raw))) break
      chain.push(cert.raw)
    }
    return { authorized: secure.authorized, code: secure.authorizationError?.code ?? secure.authorizationError, chain }
  } catch (error) {
    return { authorized: false, code: error.code, error }
  } finally {
    secure.destroy()
  }
}

module.exports = { handshake, starttls }
