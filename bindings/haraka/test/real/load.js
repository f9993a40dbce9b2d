'use strict'

// How much the plugin costs, and who waits for whom: mail to many domains, of some of which the policy host never
// answers (`npm run load`).
//
//   CROWD=500 run.sh node load.js [MAILS]

const { CONFIG, Host, fresh_library, submit } = require('./host')
const lab = require('./lab')

const WITHOUT = { plugins: CONFIG.plugins.filter((name) => name !== 'mta-sts') }
const CONNECTIONS = 10

// Sends so many mails to these domains, the slow ones spread among the others, and waits until all are delivered.
async function run(config, mails, domains, slow, { warm = false, timeout } = {}) {
  lab.reset()
  if (!warm) fresh_library('', timeout)
  for (const domain of slow) lab.set(domain, 'https=black-hole')
  const host = await new Host({ 'log.ini': { main: { level: 'WARN' } }, ...config }).start()
  try {
    const begin = Date.now()
    const all = Array.from({ length: mails }, (_, n) => domains[n % domains.length])
    const parts = Array.from({ length: CONNECTIONS }, (_, part) => all.filter((_, n) => n % CONNECTIONS === part))
    await Promise.all(parts.map(submit))
    const accepted = Date.now()
    await host.until('delivered', () => host.journal().length >= mails, 300)
    const journal = host.journal()
    const is_slow = new Set(slow)
    const fast = journal.filter(({ domain }) => !is_slow.has(domain))
    const late = journal.filter(({ domain }) => is_slow.has(domain))
    const delays = fast.map(({ delay }) => delay).sort((a, b) => a - b)
    return {
      mails,
      delivered: journal.filter(({ hook }) => hook === 'delivered').length,
      mails_per_second: Math.round(fast.length / ((Math.max(...fast.map(({ at }) => at)) - begin) / 1000)),
      accepted_seconds: (accepted - begin) / 1000,
      delay_median: delays[delays.length >> 1],
      delay_longest: delays.at(-1),
      first_slow_delay: late.length ? Math.min(...late.map(({ delay }) => delay)) : null,
      last_slow_delay: late.length ? Math.max(...late.map(({ delay }) => delay)) : null,
    }
  } finally {
    await host.stop()
  }
}

const domains_of = (number) => Array.from({ length: number }, (_, n) => `many${n}.test`)

async function main(mails) {
  const domains = domains_of(Number(process.env.CROWD))
  const slow = domains.filter((_, n) => n % 10 === 0)
  const rows = {
    'no plugin': await run(WITHOUT, mails, domains, slow),
    'empty cache': await run({}, mails, domains, slow),
    'full cache': await run({}, mails, domains, slow, { warm: true }),
    'no plugin, again': await run(WITHOUT, mails, domains, slow),
  }
  console.table(rows)
}

module.exports = { WITHOUT, domains_of, run }

if (require.main === module) main(Number(process.argv[2] ?? 5000))
