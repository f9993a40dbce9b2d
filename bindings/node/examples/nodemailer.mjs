// Sends a mail straight to the MX hosts of its recipient's domain, by the domain's MTA-STS policy (RFC 8461).
//
//     node nodemailer.mjs sender@example.org recipient@example.com < message.eml
//
// Exit status: 0 it was taken, 75 try again later (EX_TEMPFAIL), 69 it was refused for good (EX_UNAVAILABLE).

import dns from 'node:dns/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

import mtasts from 'mtasts'
import nodemailer from 'nodemailer'

// The ways to deliver to a host. Nobody but the first knows with whom they speak.
const VERIFIED = { requireTLS: true, tls: { checkServerIdentity: mtasts.checkServerIdentity, minVersion: 'TLSv1.2' } }
const ENCRYPTED = { opportunisticTLS: true, tls: { rejectUnauthorized: false } }
const CLEAR = { ignoreTLS: true }

/** The names of the MX hosts in order of preference; the domain itself where it has no MX record (RFC 5321 5.1). */
async function mxHosts(domain) {
  const none = (error) => {
    if (error.code === 'ENODATA') return [{ exchange: domain, priority: 0 }]
    // A domain that is not there takes no mail; of all else we hope that it passes.
    throw Object.assign(error, { permanent: error.code === 'ENOTFOUND' })
  }
  const records = await dns.resolveMx(domain).catch(none)
  if (records.length === 1 && records[0].exchange === '') {
    throw Object.assign(new Error(`${domain} takes no mail (RFC 7505)`), { permanent: true })
  }
  return records.sort((a, b) => a.priority - b.priority).map(({ exchange }) => exchange)
}

/** What nodemailer's error means for the policy; nothing where it is none of TLS. */
function whatWasSeen(error) {
  if (error.command === 'STARTTLS') return { kind: 'starttls-refused' }
  const code = error.originalCode ?? error.code
  if (error.syscall === 'connect' || /^(ECONNECTION|ETIMEDOUT|EDNS|EPROTOCOL)$/.test(code)) return undefined
  return { kind: 'certificate', ...mtasts.fromNode(code) }
}

/**
 * Sends a mail. `mail` is nodemailer's message with an envelope for one domain. An error has `permanent` where there is no
 * use in trying again.
 */
export async function send(mail, domain, { log = console.error, timeout = 20_000, ...options } = {}) {
  const answer = await mtasts.lookup(domain, { timeout })
  log(answer.explanation)
  const enforced = answer.mode === mtasts.Mode.ENFORCE
  const ways = { enforce: [VERIFIED], testing: [VERIFIED, ENCRYPTED, CLEAR], none: [ENCRYPTED, CLEAR] }[answer.mode]
  let last
  for (const host of await mxHosts(domain)) {
    const byName = answer.verdict(host, { kind: 'name' })
    if (byName.result) log(byName.sentence)
    if (byName.action === mtasts.Action.SKIP_HOST) continue
    if (byName.action === mtasts.Action.DEFER) throw new Error(byName.sentence)
    for (const way of ways) {
      const transport = nodemailer.createTransport({ host, port: 25, ...options, ...way })
      try {
        return { host, verified: way === VERIFIED, ...(await transport.sendMail(mail)) }
      } catch (error) {
        last = error
        // What the host says of the mail is final, unless it says it in the clear under a policy that is enforced.
        if (error.permanent && error.command !== 'STARTTLS' && !(enforced && error.command === 'CONN')) throw error
        const seen = whatWasSeen(error)
        log(seen ? answer.verdict(host, seen).sentence : `${host}: ${error.message}`)
        // No other way leads to a host that is not there.
        if (!seen) break
      } finally {
        transport.close()
      }
    }
  }
  const { sentence } = answer.verdict(domain, { kind: 'no-host-left' })
  throw new Error(sentence || `no MX host of ${domain} takes the mail now`, { cause: last })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to] = process.argv.slice(2)
  const mail = { envelope: { from, to }, raw: await text(process.stdin) }
  try {
    const { host, verified, response } = await send(mail, to.slice(to.lastIndexOf('@') + 1))
    console.log(`${host}${verified ? ' (verified)' : ''}: ${response}`)
  } catch (error) {
    console.error(error.message)
    process.exitCode = error.permanent ? 69 : 75
  }
}
