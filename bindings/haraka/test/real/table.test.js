'use strict'

// One mail to every domain of the test Internet, with the plugin and without it.

const assert = require('node:assert')
const { before, describe, it } = require('node:test')

const { CONFIG, Host, fresh_library } = require('./host')
const lab = require('./lab')

const WITHOUT = { plugins: CONFIG.plugins.filter((name) => name !== 'mta-sts') }

const table = lab.table()
const domains = table.map(({ name }) => name)
const enforced = table.filter(({ policy }) => policy === 'enforce')

async function fates_of(config, options) {
  lab.reset()
  fresh_library()
  const host = await new Host(config, options).start()
  try {
    return { host, fates: await host.send(domains, 120) }
  } finally {
    await host.stop()
  }
}

// What a fate has to be, by the table.
function must_be({ expect }) {
  const [kind, { hosts } = {}] = typeof expect === 'string' ? [expect] : Object.entries(expect)[0]
  return { kind, hosts }
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
        real = await fates_of(...host)
      })

      for (const entry of table) {
        it(`${entry.name}, ${entry.wrong}`, () => {
          const { fate, arrived, err } = real.fates[entry.name]
          const { kind, hosts } = must_be(entry)
          switch (kind) {
            case 'deliver-verified':
              assert.strictEqual(fate, 'delivered TLS', err)
              // The name that was verified, which two hosts at one address have each their own.
              return assert.ok(hosts.includes(arrived[0].tls.sni), `${arrived[0].tls.sni} is none of ${hosts}`)
            case 'deliver-verified-or-defer':
              if (fate !== 'deferred') assert.ok(fate === 'delivered TLS' && hosts.includes(arrived[0].tls.sni), fate)
              return
            case 'defer':
              return assert.strictEqual(fate, 'deferred', err)
            case 'bounce':
              return assert.strictEqual(fate, 'bounced', err)
            case 'deliver':
              // No policy that asks for anything: not the plugin's business.
              return assert.strictEqual(fate, control.fates[entry.name].fate, err)
            default:
              assert.fail(`a new word in the table: ${kind}`)
          }
        })
      }

      it('names each failure as the table does, where it holds and where it is only tested', () => {
        const wrong = table.filter(({ name, policy, result }) => {
          if (!result || !['enforce', 'testing'].includes(policy)) return false
          return !real.fates[name].results.some((one) => one.result === result)
        })
        assert.deepStrictEqual(
          wrong.map(({ name, result }) => [name, result, real.fates[name].results]),
          [],
        )
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
        // Haraka has no way to speak to these: they answer STARTTLS or the ClientHello with an error.
        const broken = ['starttls454', 'starttls554', 'tls11', 'handshake-reset', 'nottls']
        assert.deepStrictEqual(
          failed,
          broken.map((name) => `${name}.test`),
        )
        assert.ok(attacked.length - failed.length > 20)
      })

      it('lost no mail that was delivered without the plugin, but for broken policies', () => {
        const protectable = new Set(enforced.map(({ name }) => name))
        const lost = domains.filter((name) => {
          const [before, now] = [control, real].map(({ fates }) => fates[name].fate.startsWith('delivered'))
          return before && !now && !protectable.has(name)
        })
        assert.deepStrictEqual(lost, [])
      })
    })
  }
})
