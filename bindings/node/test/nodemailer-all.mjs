// Sends a mail to each of the domains on stdin with the example beside, and says what became of them.

import { text } from 'node:stream/consumers'

import { send } from './nodemailer.mjs'

// As a mail server does, once everything is loaded.
process.setgid(65_534)
process.setuid(65_534)

const timeouts = {
  timeout: 8000,
  connectionTimeout: 4000,
  greetingTimeout: 4000,
  socketTimeout: 4000,
  dnsTimeout: 10_000,
}
const domains = JSON.parse(await text(process.stdin))

async function outcome(domain) {
  const log = []
  const mail = {
    envelope: { from: 'sender@client.test', to: `user@${domain}` },
    raw: 'Subject: hello\r\n\r\nHello.\r\n',
  }
  try {
    const { host, verified } = await send(mail, domain, { ...timeouts, log: (line) => log.push(line) })
    return { domain, host, verified, log }
  } catch (error) {
    return { domain, error: error.message, permanent: error.permanent === true, log }
  }
}

const outcomes = []
// So many at a time: all at once keep the loop from the answers of DNS for longer than Node waits for them.
async function some() {
  while (domains.length > 0) outcomes.push(await outcome(domains.shift()))
}
await Promise.all(Array.from({ length: 32 }, some))
console.log(JSON.stringify(outcomes))
