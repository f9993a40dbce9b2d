'use strict'

// One mail to every domain of the test Internet, with the plugin and without it.

const assert = require('node:assert')
const path = require('node:path')
const { before, describe, it } = require('node:test')

const { CONFIG, Host, fresh_library, journal, line } = require('./host')
const lab = require('./lab')
const sys4 = require('./sys4')

// The result types in the order of the numbers of libtlsrpt.
const RESULTS = Object.assign([], {
  201: 'starttls-not-supported',
  202: 'certificate-host-mismatch',
  203: 'certificate-not-trusted',
  204: 'certificate-expired',
  205: 'validation-failure',
  301: 'sts-policy-fetch-error',
  302: 'sts-policy-invalid',
  303: 'sts-webpki-invalid',
})

const WITHOUT = { plugins: CONFIG.plugins.filter((name) => name !== 'mta-sts') }

const table = lab.table()
const domains = table.map(({ name }) => name)
const enforced = table.filter(({ policy }) => policy === 'enforce')

// If a host answers STARTTLS or the ClientHello with an error, Haraka does not deliver in clear: the mail waits or bounces,
// with the plugin or without.
const BROKEN = {
  starttls454: 'deferred',
  starttls554: 'bounced',
  tls11: 'deferred',
  'handshake-reset': 'deferred',
  nottls: 'deferred',
}

// Where Haraka does something else than the table says. A row that no longer differs is an error.
const DIFFERS = [
  ...Object.entries(BROKEN).flatMap(([how, fate]) =>
    ['testing', 'none', 'nopolicy'].map((policy) => `${policy}-${how}.test=${fate}`),
  ),
  // It does not know the null MX (RFC 7505), and tries to connect.
  'testing-nullmx.test=deferred',
]

async function fates_of(config, options, other) {
  lab.reset()
  const reporter = other ? await sys4.start() : null
  fresh_library(`tlsrpt_journal = "on"\ntlsrpt_socket = "${reporter?.socket ?? ''}"\n`, '8s')
  const host = await new Host(config, options).start()
  try {
    const fates = await host.send(domains, 120)
    // A thread of the library asks DNS before it hands a session over.
    const sessions = Object.values(fates).reduce((sum, { results }) => sum + (results?.length ?? 0), 0)
    await host.until('counted', () => journal().length >= sessions, 30).catch(() => {})
    const compared = await reporter?.compare(path.join(process.env.MTASTS_LAB_DIR, 'cache'))
    return { host, fates, counted: journal(), compared }
  } finally {
    await host.stop()
    reporter?.stop()
  }
}

// Who judges the certificates: the library with the roots of ca_file, or Node.js with its own.
const JUDGES = {
  'the library': [],
  'Node.js': [{ 'mta-sts.ini': { main: {} } }, { env: { NODE_EXTRA_CA_CERTS: process.env.MTASTS_LAB_CA } }],
}

describe('every domain of the test Internet', { timeout: 600_000 }, () => {
  let control
  before(async () => {
    control = await fates_of(WITHOUT)
  })

  for (const [judge, host] of Object.entries(JUDGES)) {
    describe(`with ${judge} as the judge`, () => {
      let real
      before(async () => {
        real = await fates_of(host[0], host[1], judge === 'the library')
      })

      it('does what the table says, and names each failure', () => {
        const lines = domains.map((name) => line(name, real.fates[name]))
        const { right, text } = lab.judge(lines, '--results', ...DIFFERS.map((differs) => `--differs=${differs}`))
        assert.ok(right, text)
      })

      it('hands each session over for the reports', () => {
        const kinds = { tlsa: 1, sts: 2, 'no-policy-found': 9 }
        const counted = new Set(real.counted.map((session) => session.join(' ')))
        const missing = domains.flatMap((name) => {
          const sessions = (real.fates[name].results ?? []).map(({ policyType, result }) => {
            return [name, kinds[policyType], result === null ? 0 : RESULTS.indexOf(result)].join(' ')
          })
          return sessions.filter((session) => !counted.has(session))
        })
        assert.deepStrictEqual(missing, [])
        assert.ok(counted.size > 200, `${counted.size}`)
        assert.deepStrictEqual(control.counted, [])
      })

      if (judge === 'the library') {
        it('has the same reports made by the reporter of sys4', () => {
          assert.match(real.compared, /^ok [2-9]\d\d$/)
        })
      }

      it('changes nothing for a domain whose policy is not enforced', () => {
        const others = table.filter(({ policy }) => policy !== 'enforce')
        const [before, now] = [control, real].map(({ fates }) => others.map(({ name }) => [name, fates[name].fate]))
        assert.deepStrictEqual(now, before)
      })

      it('says in the log what is wrong with each', () => {
        const silent = enforced.filter(({ name, result }) => {
          return result && real.host.lines('MTA-STS policy', name).length === 0
        })
        assert.deepStrictEqual(silent, [])
      })

      it('does not speak up for what it does not do', () => {
        assert.deepStrictEqual(real.host.lines('[CRIT]'), [])
        assert.deepStrictEqual(real.host.lines('programming error'), [])
      })

      it('without the plugin, the attacks succeed', () => {
        const attacked = enforced.filter(({ result }) => result).map(({ name }) => name)
        const failed = attacked.filter((name) => !control.fates[name].fate.startsWith('delivered'))
        assert.deepStrictEqual(
          failed,
          Object.keys(BROKEN).map((how) => `${how}.test`),
        )
        assert.ok(attacked.length - failed.length > 20)
      })
    })
  }
})
