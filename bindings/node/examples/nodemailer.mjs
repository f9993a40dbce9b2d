// Sends a mail straight to the MX hosts of its recipient's domain, by the domain's MTA-STS policy (RFC 8461).
//
//     node nodemailer.mjs sender@example.org recipient@example.com < message.eml
//
// Exit status: 0 accepted, 75 try again later (EX_TEMPFAIL), 69 refused for good (EX_UNAVAILABLE), 64 wrong usage (EX_USAGE).

import dns from 'node:dns/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

import mtasts from 'mtasts'
import nodemailer from 'nodemailer'

// The ways to deliver to a host. Only the first authenticates the host.
const VERIFIED = { requireTLS: true, tls: { checkServerIdentity: mtasts.checkServerIdentity, minVersion: 'TLSv1.2' } }
const ENCRYPTED = { opportunisticTLS: true, tls: { rejectUnauthorized: false } }
const CLEAR = { ignoreTLS: true }

/** The names of the MX hosts in order of preference. An error has `why` if DNS says that there is none. */
async function mxHosts(domain) {
  const denied = (why) => Object.assign(new Error(`DNS has no MX host for ${domain}`), { why })
  try {
    const records = await dns.resolveMx(domain)
    if (records.length === 1 && records[0].exchange === '') throw denied('null-mx')
    return records.sort((a, b) => a.priority - b.priority).map(({ exchange }) => exchange)
  } catch (error) {
    if (error.code === 'ENOTFOUND') throw denied('nxdomain')
    if (error.code !== 'ENODATA') throw error
  }
  // Without an MX record the domain is its own MX host (RFC 5321 5.1), if it has an address.
  await dns.lookup(domain).catch((error) => {
    throw error.code === 'ENOTFOUND' ? denied('nodata') : error
  })
  return [domain]
}

// What is not about TLS: the host has no address, nobody answers there, or it does not speak SMTP.
const NOT_TLS = /^(EDNS|ECONNECTION|ETIMEDOUT|EPROTOCOL)$/
// What went wrong in the handshake, but not with the certificate.
const HANDSHAKE = /^(ERR_SSL_\w+|EPROTO|ECONNRESET|EPIPE|ETLS|ESOCKET)$/

/** What nodemailer's error means for the policy; nothing if it is not about TLS. */
function whatWasSeen(error) {
  if (error.command === 'STARTTLS') return { kind: 'starttls-refused' }
  if (error.syscall === 'connect' || NOT_TLS.test(error.code)) return undefined
  const code = error.originalCode ?? error.code
  if (HANDSHAKE.test(code)) return { kind: 'handshake-failed', reason: `${error.message} (${code})` }
  return { kind: 'certificate', ...mtasts.fromNode(code) }
}

/**
 * Sends a mail. `mail` is nodemailer's message with an envelope for one domain. An error is `permanent` if it is no use to
 * try again.
 */
export async function send(mail, domain, { log = console.error, timeout = 20_000, ...options } = {}) {
  const answer = await mtasts.lookup(domain, { timeout })
  log(answer.explanation)
  const ways = answer.enforces ? [VERIFIED] : answer.applies ? [VERIFIED, ENCRYPTED, CLEAR] : [ENCRYPTED, CLEAR]
  const hosts = await mxHosts(domain).catch((error) => {
    if (!error.why) throw error
    // One forged answer of DNS must not bounce mail: if it contradicts a policy, the mail waits.
    const { defers, sentence } = answer.verdictWithoutHost(error.why)
    throw defers ? new Error(sentence) : Object.assign(error, { permanent: true })
  })
  let last
  const given = []
  for (const host of hosts) {
    const attempt = new mtasts.Attempt(answer, host)
    let verdict = attempt.saw({ kind: 'name' })
    if (verdict.result) log(verdict.sentence)
    if (verdict.defers) throw new Error(verdict.sentence)
    for (const way of ways) {
      if (!verdict.delivers) break
      const transport = nodemailer.createTransport({ host, port: 25, ...options, ...way })
      try {
        return { host, verified: way === VERIFIED, ...(await transport.sendMail(mail)) }
      } catch (error) {
        last = error
        // What the host says of the mail is final, unless it says it in clear under a policy that is enforced.
        const inClear = error.command === 'STARTTLS' || (answer.enforces && error.command === 'CONN')
        if (error.permanent && !inClear) throw error
        const seen = whatWasSeen(error)
        if (seen) verdict = attempt.saw(seen)
        log(seen ? verdict.sentence : `${host}: ${error.message}`)
        // No other way leads to a host that is not there.
        if (!seen) break
      } finally {
        transport.close()
      }
    }
    given.push({ host, reasonCode: verdict.reasonCode })
  }
  const { defers, sentence } = answer.verdictWithoutHost('left', given)
  throw new Error(defers ? sentence : `no MX host of ${domain} takes the mail now`, { cause: last })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to, ...others] = process.argv.slice(2)
  if (!from || !to?.includes('@') || others.length > 0) {
    console.error('usage: node nodemailer.mjs SENDER RECIPIENT < message.eml')
    process.exit(64)
  }
  const mail = { envelope: { from, to }, raw: await text(process.stdin) }
  try {
    const { host, verified, response } = await send(mail, to.slice(to.lastIndexOf('@') + 1))
    console.log(`${host}${verified ? ' (verified)' : ''}: ${response}`)
  } catch (error) {
    console.error(error.message)
    process.exitCode = error.permanent ? 69 : 75
  }
}
