'use strict'

// What the table of domains does not show: hosts that fail in other ways, other plugins, restarts, settings.

const assert = require('node:assert')
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, beforeEach, describe, it } = require('node:test')

const { CONFIG, Host, fresh_library, fresh_redis, journal, submit } = require('./host')
const lab = require('./lab')
const { domains_of, run } = require('./load')

const WITHOUT = { plugins: CONFIG.plugins.filter((name) => name !== 'mta-sts') }
const beside = (...others) => ({ plugins: [...others, ...CONFIG.plugins] })
const outbound = (settings) => ({ 'outbound.ini': { main: { ...CONFIG['outbound.ini'].main, ...settings } } })

// Runs a Haraka for as long as the body does.
async function on(config, body, options) {
  const host = await new Host(config, options).start()
  try {
    return await body(host)
  } finally {
    await host.stop()
  }
}

const fates_of = (fates) => Object.fromEntries(Object.entries(fates).map(([domain, { fate }]) => [domain, fate]))
const send = (config, domains, options) => on(config, async (host) => fates_of(await host.send(domains)), options)

// A publication as RFC 8461 8.1 wants it.
function publish(domain, id, mx) {
  const policy = `version: STSv1\\nmode: enforce\\nmx: ${mx}\\nmax_age: 86400\\n`
  lab.set(domain, `txt=v=STSv1; id=${id};`, `policy=${policy}`)
}

const SAMPLE = {
  'good.test': 'delivered TLS',
  'expired.test': 'deferred',
  'nomatch.test': 'deferred',
  'nostarttls.test': 'deferred',
  'secondstarttls.test': 'delivered TLS',
  'testing-nostarttls.test': 'delivered PLAIN',
  'plain.test': 'delivered PLAIN',
}

beforeEach(() => {
  lab.reset()
  fresh_library()
})

describe('an MX host', { timeout: 120_000 }, () => {
  const changes = {
    'good.test': 'mx=554',
    'twomx.test': 'mx=ehlo-502',
    'wild.test': 'mx=rcpt-550',
    'tls12.test': 'mx=tls-close',
  }
  const change = () => {
    for (const [domain, what] of Object.entries(changes)) lab.set(domain, what)
    lab.set('secondgood.test', 'host=mx1.secondgood.test', 'mx=554')
    lab.set('testing-expired.test', 'mx=ehlo-502')
  }

  it('that fails before TLS costs nothing but this attempt', async () => {
    change()
    await on({}, async (host) => {
      const fates = await host.send([...Object.keys(changes), 'secondgood.test', 'testing-expired.test'])
      assert.deepStrictEqual(fates_of(fates), {
        'good.test': 'deferred',
        'twomx.test': 'deferred',
        'wild.test': 'bounced',
        'tls12.test': 'deferred',
        'secondgood.test': 'delivered TLS',
        'testing-expired.test': 'delivered PLAIN',
      })
      const results = (domain) => fates[domain].results.map(({ host, result }) => [host, result])
      assert.deepStrictEqual(results('good.test'), [])
      assert.deepStrictEqual(results('twomx.test'), [
        ['mx1.twomx.test', 'starttls-not-supported'],
        ['mx2.twomx.test', 'starttls-not-supported'],
      ])
      // The recipient was refused inside of verified TLS: that is the host's own word.
      assert.deepStrictEqual(results('wild.test'), [['a.wild.test', null]])
      assert.deepStrictEqual(results('tls12.test'), [['mx.tls12.test', 'validation-failure']])
    })
  })

  it('that fails before TLS makes Haraka bounce or speak in clear without the plugin', async () => {
    change()
    assert.deepStrictEqual(await send(WITHOUT, Object.keys(changes)), {
      'good.test': 'bounced',
      'twomx.test': 'delivered PLAIN',
      'wild.test': 'bounced',
      'tls12.test': 'deferred',
    })
  })

  it('that was spoken for in clear behind the answer to STARTTLS is not harmed by it', async () => {
    await on({}, async (host) => {
      const { fate, results } = (await host.send(['injected.test']))['injected.test']
      assert.strictEqual(fate, 'delivered TLS')
      assert.deepStrictEqual(
        results.map(({ result }) => result),
        [null],
      )
      const { sessions } = lab.mail()
      // A SIZE would be announced, had the injected text been taken for the host's.
      assert.ok(sessions.every(({ commands }) => !commands.some((command) => command.includes('SIZE='))))
    })
  })

  it('that the policy does not list is not even connected to', async () => {
    assert.deepStrictEqual(await send({}, ['nomatch.test', 'mixed.test']), {
      'nomatch.test': 'deferred',
      'mixed.test': 'delivered TLS',
    })
    assert.deepStrictEqual(Object.keys(lab.counters().smtp_connections), ['mx2.mixed.test'])
  })

  it('that answers nothing at all is left alone after a while', async () => {
    const fates = await send({}, ['blackhole.test', 'tls-silent.test'])
    assert.deepStrictEqual(fates, { 'blackhole.test': 'deferred', 'tls-silent.test': 'deferred' })
  })
})

describe('DNS that denies the MX hosts', { timeout: 120_000 }, () => {
  const denied = {
    'mxdenied-nxdomain.test': /DNS says .*NXDOMAIN.*the policy lists its MX hosts/,
    'mxdenied-nodata.test': /DNS says .*NODATA.*the policy lists other MX hosts/,
    'nullmx.test': /DNS says .*null MX.*the policy lists its MX hosts/,
  }

  it('of an enforced policy makes mail wait, and says which contradicts which', async () => {
    await on({}, async (host) => {
      for (const [domain, { fate, err }] of Object.entries(await host.send(Object.keys(denied)))) {
        assert.strictEqual(fate, 'deferred', domain)
        assert.match(err, denied[domain])
      }
    })
  })

  it('bounces mail without the plugin, and where nothing is enforced', async () => {
    const names = ['mxdenied-nxdomain.test', 'mxdenied-nodata.test']
    const bounced = (domains) => Object.fromEntries(domains.map((domain) => [domain, 'bounced']))
    assert.deepStrictEqual(await send(WITHOUT, names), bounced(names))
    lab.reset()
    const lax = [...names.map((name) => `testing-${name}`), 'nowhere.test']
    assert.deepStrictEqual(await send({}, lax), bounced(lax))
  })

  it('is called by its name where nothing is enforced', async () => {
    await on({}, async (host) => {
      await host.send(['testing-nullmx.test', 'testing-mxdenied-nxdomain.test'])
      const said = (domain, why) => host.lines('[NOTICE]', `${domain} has no MX host (${why})`, 'mode testing').length
      assert.strictEqual(said('testing-nullmx.test', 'null-mx'), 1, host.log())
      assert.strictEqual(said('testing-mxdenied-nxdomain.test', 'nxdomain'), 1)
    })
  })

  it('bounces mail once the retries are used up', async () => {
    const fates = await send(outbound({ temp_fail_intervals: 'none' }), ['mxdenied-nxdomain.test'])
    assert.deepStrictEqual(fates, { 'mxdenied-nxdomain.test': 'bounced' })
  })
})

describe('DNS that does not say whether there is a policy', { timeout: 120_000 }, () => {
  it('is logged for each mail, and the mail flows', async () => {
    lab.set('good.test', 'txt=SERVFAIL')
    lab.set('twomx.test', 'txt=REFUSED')
    lab.set('wild.test', 'txt=SILENT')
    await on({ 'log.ini': { main: { level: 'NOTICE' } } }, async (host) => {
      for (const domain of ['good.test', 'twomx.test', 'wild.test']) {
        assert.strictEqual((await host.send([domain]))[domain].fate, 'delivered TLS')
        const said = host.lines('[NOTICE]', `cannot tell whether ${domain} has a policy: `)
        assert.strictEqual(said.length, 1, host.log())
      }
      assert.strictEqual((await host.send(['nopolicy.test']))['nopolicy.test'].fate, 'delivered TLS')
      assert.strictEqual(host.lines('cannot tell').length, 3)
    })
  })

  it('holds up one mail and no other for a minute, if it is silent', async () => {
    fresh_library('', '20s')
    lab.set('good.test', 'txt=SILENT')
    await on({}, async (host) => {
      for (let n = 0; n < 3; n++) await host.send(['good.test'])
      const [first, ...later] = host.journal().map(({ delay }) => delay)
      assert.ok(first > 9 && later.every((delay) => delay < 4), `${first} ${later}`)
    })
  })
})

describe('the reports', { timeout: 120_000 }, () => {
  it('count neither a report nor a mail that needs no TLS', async () => {
    fresh_library('tlsrpt_journal = "on"\ntlsrpt_sender = "tlsrpt@sender.test"\n')
    await on({}, async (host) => {
      await host.send(['testing.test'], 90, { sender: 'TLSRPT@sender.test' })
      await host.send(['testing.test'], 90, { header: 'TLS-Required: No\r\n' })
      await host.send(['testing.test'], 90, { sender: 'alice@sender.test', header: 'TLS-Required: Yes\r\n' })
      await host.until('counted', () => journal().length > 0)
      assert.deepStrictEqual(journal(), [['testing.test', 2, 0]])
    })
  })
})

describe('under mode testing', { timeout: 120_000 }, () => {
  it('no line says that mail is delivered which Haraka does not deliver', async () => {
    const fates = {
      'testing-starttls454.test': 'deferred',
      'testing-starttls554.test': 'bounced',
      'testing-tls11.test': 'deferred',
      'testing-nostarttls.test': 'delivered PLAIN',
    }
    await on({}, async (host) => {
      assert.deepStrictEqual(fates_of(await host.send(Object.keys(fates))), fates)
      for (const domain of Object.keys(fates)) {
        const lines = host.lines('mtasts[', domain)
        assert.match(lines.join(), /does not prevent delivery: the policy is in testing/, domain)
        assert.doesNotMatch(lines.join(), /delivered/)
      }
    })
  })
})

describe('a session', { timeout: 120_000 }, () => {
  it('is counted once, with a policy and without', async () => {
    await on({}, async (host) => {
      const fates = await host.send(['good.test', 'nopolicy.test', 'testing-nostarttls.test'])
      const counted = ({ results }) => results.map(({ policyType, result, address }) => [policyType, result, !!address])
      assert.deepStrictEqual(counted(fates['good.test']), [['sts', null, true]])
      assert.deepStrictEqual(counted(fates['nopolicy.test']), [['no-policy-found', null, true]])
      assert.deepStrictEqual(counted(fates['testing-nostarttls.test']), [['sts', 'starttls-not-supported', true]])
    })
  })
})

describe('the end of the retries', { timeout: 120_000 }, () => {
  // With `none`, the first failure is the last.
  const NONE = outbound({ temp_fail_intervals: 'none' })
  const PATIENT = 'txt_life_min = "1h"\ntxt_life_max = "1h"\n'

  async function with_policy_cached(domain, meanwhile) {
    fresh_library(PATIENT)
    await send({}, [domain])
    await meanwhile()
    return send(NONE, [domain])
  }

  it('looks for a newer policy before the bounce, and obeys it (RFC 8461 5)', async () => {
    const fates = await with_policy_cached('nomatch.test', () => publish('nomatch.test', '2', 'mx.nomatch.test'))
    assert.deepStrictEqual(fates, { 'nomatch.test': 'delivered TLS' })
  })

  it('bounces where the policy is as it was', async () => {
    const fates = await with_policy_cached('nomatch.test', () => {})
    assert.deepStrictEqual(fates, { 'nomatch.test': 'bounced' })
  })

  it('bounces where the newer policy is no better', async () => {
    const fates = await with_policy_cached('nomatch.test', () => publish('nomatch.test', '2', 'new.nomatch.test'))
    assert.deepStrictEqual(fates, { 'nomatch.test': 'bounced' })
  })

  it('comes only after the whole schedule, across a crash and with the policy host gone', async () => {
    const host = await new Host(outbound({ temp_fail_intervals: '5s*2' })).start()
    try {
      assert.strictEqual((await host.send(['expired.test']))['expired.test'].fate, 'deferred')
      await host.kill()
      lab.set('expired.test', 'txt=SERVFAIL', 'https=refused')
      await host.start()
      const told = () => host.journal().map(({ hook }) => hook)
      await host.until('bounced', () => told().includes('bounce'))
      assert.deepStrictEqual(told(), ['deferred', 'deferred', 'bounce'])
      assert.strictEqual(lab.mail().mail.length, 0)
      const expired = /MTA-STS policy .*; DNS gives: mx\.expired\.test \[certificate-expired: [^\]]+\]\)/
      assert.match(host.journal().at(-1).err, expired)
    } finally {
      await host.stop()
    }
  })
})

describe('a graceful stop', { timeout: 180_000 }, () => {
  // With `none`, an attempt that the stop costs is a bounce.
  const config = (nodes = 0) => ({
    'smtp.ini': { main: { ...CONFIG['smtp.ini'].main, nodes, graceful_shutdown: true } },
    ...outbound({ temp_fail_intervals: 'none' }),
  })
  const asked = (name) => lab.counters().dns[`${name} TXT`] ?? 0

  // Stops Haraka while DNS says nothing, and gives what is left. Then everything is well, and Haraka starts again.
  async function stop_and_start(domain, nodes) {
    const name = `_mta-sts.${domain}`
    lab.set(domain, 'txt=SILENT')
    return on(config(nodes), async (host) => {
      const before = asked(name)
      await submit([domain])
      await host.until(`asked for ${name}`, () => asked(name) > before)
      await host.interrupt()
      const left = { journal: host.journal(), attempts: host.queue().map(({ attempts }) => attempts) }
      lab.reset()
      publish(domain, '2', `mx.${domain}`)
      await host.start()
      await host.until('delivered', () => host.journal().some(({ hook }) => hook === 'delivered'))
      return left
    })
  }

  const UNTOUCHED = { journal: [], attempts: [0] }

  for (const nodes of [0, 2]) {
    it(`costs mail no attempt whose policy is being looked up, in a cluster of ${nodes}`, async () => {
      fresh_library('', '60s')
      assert.deepStrictEqual(await stop_and_start('good.test', nodes), UNTOUCHED)
    })
  }

  it('does not bounce mail for which a newer policy is being looked for', async () => {
    fresh_library('txt_life_min = "1h"\ntxt_life_max = "1h"\n', '60s')
    await send({}, ['nomatch.test'])
    assert.deepStrictEqual(await stop_and_start('nomatch.test'), UNTOUCHED)
  })
})

describe('a cluster', { timeout: 120_000 }, () => {
  for (const nodes of [0, 2]) {
    it(`of ${nodes} does what one process does`, async () => {
      const config = { 'smtp.ini': { main: { ...CONFIG['smtp.ini'].main, nodes } } }
      assert.deepStrictEqual(await send(config, Object.keys(SAMPLE)), SAMPLE)
    })
  }
})

describe('the route of another plugin', { timeout: 120_000 }, () => {
  const relayed = {
    ...beside('relay'),
    'relay.ini': { relay: { force_routing: true, dest_domains: true } },
    'relay_dest_domains.ini': {
      domains: { 'hub-unlisted.test': '{"action":"continue","nexthop":"mx.hub.test"}' },
    },
  }

  it('is the word of the operator', async () => {
    const fates = await send(relayed, ['hub-unlisted.test', 'nomatch.test'])
    assert.deepStrictEqual(fates, { 'hub-unlisted.test': 'delivered TLS', 'nomatch.test': 'deferred' })
  })

  it('must meet the policy with check_routes', async () => {
    const main = { ...CONFIG['mta-sts.ini'].main, check_routes: true }
    const fates = await send({ ...relayed, 'mta-sts.ini': { main } }, ['hub-unlisted.test'])
    assert.deepStrictEqual(fates, { 'hub-unlisted.test': 'deferred' })
  })

  it('must meet it also if the plugin is asked before this one, and leaves a line if it need not', async () => {
    const early = beside('early')
    const main = { ...CONFIG['mta-sts.ini'].main, check_routes: true }
    const unlisted = { 'hub-unlisted.test': 'deferred' }
    assert.deepStrictEqual(await send({ ...early, 'mta-sts.ini': { main } }, ['hub-unlisted.test']), unlisted)
    lab.reset()
    await on(early, async (host) => {
      assert.strictEqual((await host.send(['hub-unlisted.test']))['hub-unlisted.test'].fate, 'delivered TLS')
      assert.strictEqual(host.lines('[INFO]', 'the route to mx.hub.test', 'no MTA-STS policy applies').length, 1)
    })
  })

  it('is none without that plugin', async () => {
    assert.deepStrictEqual(await send({}, ['hub-unlisted.test']), { 'hub-unlisted.test': 'deferred' })
  })
})

describe('beside redis', { timeout: 120_000 }, () => {
  let redis
  before(async () => {
    redis = await fresh_redis()
  })
  after(() => redis.stop())
  beforeEach(() => redis.cli('FLUSHALL'))

  const REDIS = { 'redis.ini': { server: { host: '127.0.0.1', port: 6379 } } }
  const NOGO = { ...REDIS, 'tls.ini': { redis: { disable_for_failed_hosts: true }, outbound: {} } }
  const marks = () => redis.everything().filter((key) => key.startsWith('no_tls|'))

  it('an enforced host is not marked as one without TLS, where Haraka alone marks it', async () => {
    assert.deepStrictEqual(await send({ ...NOGO, ...WITHOUT }, ['tls11.test']), { 'tls11.test': 'deferred' })
    assert.strictEqual(marks().length, 1)
    redis.cli('FLUSHALL')
    lab.reset()
    const domains = ['tls11.test', 'expired.test', 'handshake-reset.test', 'nottls.test', 'wrongname.test']
    assert.deepStrictEqual(new Set(Object.values(await send(NOGO, domains))), new Set(['deferred']))
    assert.deepStrictEqual(marks(), [])
  })

  it('the mark is not honoured where the policy is enforced, and honoured as ever elsewhere', async () => {
    const mark = async (config) => {
      const address = { 'good.test': 'mx.good.test', 'nopolicy.test': 'mx.nopolicy.test' }
      for (const name of Object.values(address)) {
        const [ip] = await require('node:dns').promises.resolve4(name)
        redis.everywhere('SET', `no_tls|${ip}`, 'yesterday')
      }
      return send(config, Object.keys(address))
    }
    const clear = { 'good.test': 'delivered PLAIN', 'nopolicy.test': 'delivered PLAIN' }
    assert.deepStrictEqual(await mark({ ...NOGO, ...WITHOUT }), clear)
    lab.reset()
    assert.deepStrictEqual(await mark(NOGO), { ...clear, 'good.test': 'delivered TLS' })
  })

  const stuck = { node: ['--require', path.join(__dirname, 'faults/stuck.js')] }
  const impatient = { 'mta-sts.timeout': 1 }

  it('karma cannot turn a refused host into an accepted one', async () => {
    const fates = await send({ ...REDIS, ...beside('karma') }, Object.keys(SAMPLE))
    assert.deepStrictEqual(fates, SAMPLE)
  })

  it('karma cannot turn a lookup that never ends into a delivery', async () => {
    await on(
      { ...REDIS, ...beside('karma'), ...impatient },
      async (host) => {
        const { fate, err } = (await host.send(['nomatch.test']))['nomatch.test']
        assert.strictEqual(fate, 'deferred')
        assert.match(err, /did not finish in time/)
        // Without karma, DENYSOFT would say: Temporary MX lookup error.
        assert.strictEqual(host.lines('[CRIT]', 'timed out on hook get_mx').length, 1)
      },
      stuck,
    )
  })

  it('karma does turn a DENYSOFT into a delivery: the reason why the plugin gives none', async () => {
    const denying = { ...REDIS, plugins: ['karma', 'open', 'denysoft', 'journal'] }
    assert.deepStrictEqual(await send(denying, ['nomatch.test']), { 'nomatch.test': 'delivered TLS' })
  })

  it('without karma, a lookup that never ends makes mail wait as well', async () => {
    const fates = await send(impatient, ['good.test'], stuck)
    assert.deepStrictEqual(fates, { 'good.test': 'deferred' })
  })
})

describe('a slow policy host', { timeout: 120_000 }, () => {
  it('is given up before Haraka gives up the hook', async () => {
    await on({ 'mta-sts.timeout': 4 }, async (host) => {
      const fates = fates_of(await host.send(['https-silent.test']))
      assert.deepStrictEqual(fates, { 'https-silent.test': 'delivered TLS' })
      assert.deepStrictEqual(host.lines('timed out on hook'), [])
    })
  })

  it('does not lose a policy that is known', async () => {
    await send({}, ['nomatch.test'])
    lab.set('nomatch.test', 'txt=SILENT', 'https=silent')
    assert.deepStrictEqual(await send({ 'mta-sts.timeout': 4 }, ['nomatch.test']), { 'nomatch.test': 'deferred' })
  })
})

describe('many domains', { timeout: 180_000 }, () => {
  it('do not wait for those whose policy host never answers', async () => {
    const domains = domains_of(40)
    const slow = domains.slice(0, 4)
    const { delivered, delay_longest, last_slow_delay } = await run({}, 120, domains, slow, { timeout: '20s' })
    assert.strictEqual(delivered, 120)
    // Ten seconds are the time for a lookup. A later mail to the domain shares it, and waits for the rest of it.
    assert.ok(last_slow_delay >= 9, `${last_slow_delay} s`)
    assert.ok(delay_longest < last_slow_delay, `${delay_longest} s`)
  })
})

describe('the roots', { timeout: 120_000 }, () => {
  const none = { 'mta-sts.ini': { main: {} } }
  const good = { 'good.test': 'delivered TLS', 'unknownca.test': 'deferred' }

  it('of Node.js do not know a private CA', async () => {
    await on(none, async (host) => {
      const { fate, results } = (await host.send(['good.test']))['good.test']
      assert.strictEqual(fate, 'deferred')
      assert.deepStrictEqual(
        results.map(({ result }) => result),
        ['certificate-not-trusted'],
      )
    })
  })

  it('come from ca_file', async () => {
    assert.deepStrictEqual(await send({}, Object.keys(good)), good)
  })

  it('come from ca_file in mtasts.toml', async () => {
    fresh_library(`ca_file = "${process.env.MTASTS_LAB_CA}"\n`)
    await on(none, async (host) => {
      assert.deepStrictEqual(fates_of(await host.send(Object.keys(good))), good)
    })
  })

  it('count in testing too where the operator demands a good certificate, whoever judges', async () => {
    const strict = { 'tls.ini': { main: {}, outbound: { rejectUnauthorized: true } } }
    const sample = ['testing-expired.test', 'testing.test']
    const own = await send(strict, sample)
    assert.deepStrictEqual(own, { 'testing-expired.test': 'deferred', 'testing.test': 'delivered TLS' })
    lab.reset()
    const env = { NODE_EXTRA_CA_CERTS: process.env.MTASTS_LAB_CA }
    assert.deepStrictEqual(await send({ ...strict, ...none }, sample, { env }), own)
  })

  it('come from NODE_EXTRA_CA_CERTS', async () => {
    const env = { NODE_EXTRA_CA_CERTS: process.env.MTASTS_LAB_CA }
    assert.deepStrictEqual(await send(none, Object.keys(good), { env }), good)
  })

  it('come from the system with --use-openssl-ca', async () => {
    const env = { SSL_CERT_DIR: '/etc/ssl/certs' }
    assert.deepStrictEqual(await send(none, Object.keys(good), { env, node: ['--use-openssl-ca'] }), good)
  })
})

describe('the settings', { timeout: 120_000 }, () => {
  const { main } = CONFIG['mta-sts.ini']

  it('are read again when they change, and stay where the change is wrong', async () => {
    await on({}, async (host) => {
      const fate = async (domain) => (await host.send([domain]))[domain].fate
      const change = async (settings, line) => {
        const before = host.lines(line).length
        host.configure('mta-sts.ini', { main: { ...main, ...settings } })
        await host.until(line, () => host.lines(line).length > before)
      }
      await change(
        { lookup_timeout: 'soon' },
        'cannot read the settings again: mta-sts.ini: lookup_timeout: soon is not 1 or more',
      )
      assert.strictEqual(await fate('nomatch.test'), 'deferred')
      await change({ enabled: false }, 'read mta-sts.ini again')
      assert.strictEqual(await fate('selfsigned.test'), 'delivered TLS')
    })
  })

  it('of the host hold for Haraka: exceptions, first_contact_defer, the cache', async () => {
    const exceptions = path.join(process.env.MTASTS_LAB_DIR, 'exceptions')
    fs.writeFileSync(exceptions, 'expired.test 2999-12-31 they know of it\n')
    fresh_library(`exceptions = "${exceptions}"\nfirst_contact_defer = "1h"\n`)
    const fates = await send({}, ['expired.test', 'txt-servfail.test', 'nomatch.test'])
    assert.deepStrictEqual(fates, {
      'expired.test': 'delivered TLS',
      'txt-servfail.test': 'deferred',
      'nomatch.test': 'deferred',
    })
    // What Haraka has learnt the other programs of the host know.
    lab.set('nomatch.test', 'txt=SERVFAIL', 'https=refused')
    assert.match(execFileSync(process.env.MTASTS, ['cache', 'show', 'nomatch.test'], { encoding: 'utf8' }), /enforce/)
  })

  it('let several mail servers share the cache by its group', async () => {
    const config = { 'smtp.ini': { main: { ...CONFIG['smtp.ini'].main, user: 'daemon', group: 'nogroup' } } }
    const { 'good.test': fate } = await send(config, ['good.test'])
    assert.strictEqual(fate, 'delivered TLS')
    await on({}, async (host) => {
      lab.set('good.test', 'txt=SERVFAIL', 'https=refused', 'certificate=expired')
      assert.strictEqual((await host.send(['twomx.test']))['twomx.test'].fate, 'delivered TLS')
      await submit(['good.test'])
      await host.until('deferred', () => host.queue().some(({ attempts }) => attempts > 0))
      assert.deepStrictEqual(host.lines('mtasts[cache-'), [])
    })
  })

  const AS_ROOT = { 'smtp.ini': { main: { ...CONFIG['smtp.ini'].main, user: 'root', group: 'root' } } }
  // The lines about this host at the start: of one process, and of the workers of a cluster.
  const at_start = (host) => host.lines('libmtasts ')

  it('are told at the start in one line: version, cache, trust anchors', async () => {
    await send({}, ['good.test'])
    const { version } = require('mtasts')
    for (const [nodes, lines] of [
      [0, 1],
      [2, 2],
    ]) {
      await on({ 'smtp.ini': { main: { ...CONFIG['smtp.ini'].main, nodes } } }, async (host) => {
        await host.until('told', () => at_start(host).length === lines)
        for (const line of at_start(host)) {
          assert.match(line, /\[NOTICE\]/)
          for (const word of [version, '/cache (user ', ', mode 2770)', ' 1 domain', process.env.MTASTS_LAB_CA]) {
            assert.ok(line.includes(word), line)
          }
        }
      })
    }
  })

  it('with a cache that root cannot use, make all mail wait: an error at the start, and one in an hour', async () => {
    const dir = path.join(process.env.MTASTS_LAB_DIR, 'of-root')
    fs.writeFileSync(
      '/etc/mtasts/mtasts.toml',
      fs.readFileSync('/etc/mtasts/mtasts.toml', 'utf8').replace(/cache"/, 'of-root"'),
    )
    await on(AS_ROOT, async (host) => {
      await host.until('told', () => at_start(host).length > 0)
      const [line] = at_start(host)
      assert.match(line, /\[ERROR\].*mail to every domain is deferred, with a policy or without: .*install -d /)
      assert.ok(line.includes(dir), line)
      const fates = fates_of(await host.send(['good.test', 'nopolicy.test']))
      assert.deepStrictEqual(fates, { 'good.test': 'deferred', 'nopolicy.test': 'deferred' })
      assert.strictEqual(host.lines('[ERROR]', 'mail waits: ', dir).length, 1)
    })
  })

  it('with a cache that cannot be used, protect as long as Haraka runs, and say once what is wrong', async () => {
    const dir = path.join(process.env.MTASTS_LAB_DIR, 'nothing')
    fs.writeFileSync(
      '/etc/mtasts/mtasts.toml',
      fs.readFileSync('/etc/mtasts/mtasts.toml', 'utf8').replace(/cache"/, 'nothing"'),
    )
    await on({}, async (host) => {
      const fates = fates_of(await host.send(['expired.test', 'good.test']))
      assert.deepStrictEqual(fates, { 'expired.test': 'deferred', 'good.test': 'delivered TLS' })
      const wrong = /\[ERROR\].*policies are kept by this process alone and are lost when it ends: .*cannot use/
      assert.match(at_start(host).join(), wrong)
      assert.strictEqual(host.lines('mtasts[cache-not-written]: ', dir).length, 1, host.log())
    })
  })

  it('of Haraka that forbid TLS make enforced mail wait, and that is said at the start', async () => {
    await on(outbound({ enable_tls: false }), async (host) => {
      assert.strictEqual(host.lines('[WARN]', 'enable_tls=false').length > 0, true)
      const fates = fates_of(await host.send(['good.test', 'nopolicy.test']))
      assert.deepStrictEqual(fates, { 'good.test': 'deferred', 'nopolicy.test': 'delivered PLAIN' })
    })
  })

  it('of Haraka that weaken TLS do not weaken the policy', async () => {
    const config = {
      'tls.ini': {
        main: { mutual_tls: true, rejectUnauthorized: false },
        outbound: { 'no_tls_hosts[]': ['good.test', 'nopolicy.test'], rejectUnauthorized: false },
      },
    }
    await on({ ...config, ...server_certificate() }, async (host) => {
      const fates = fates_of(await host.send([...Object.keys(SAMPLE), 'nopolicy.test']))
      assert.deepStrictEqual(fates, { ...SAMPLE, 'nopolicy.test': 'delivered PLAIN' })
    })
  })
})

describe('Haraka does not start', { timeout: 60_000 }, () => {
  const refuses = async (config, options, why) => {
    await assert.rejects(new Host(config, options).start(), (err) => {
      assert.match(err.message, /Haraka ended at once/)
      assert.match(err.message, why)
      return true
    })
  }

  it('where a method that the plugin needs has changed', () =>
    refuses({}, { node: ['--require', path.join(__dirname, 'faults/changed.js')] }, /found_mx of outbound\/hmail.js/))

  it('where the settings of the host are wrong', () => {
    fresh_library('timeot = "3s"\n')
    return refuses({}, {}, /timeot/)
  })

  it('where the roots that the settings of the host name cannot be read', async () => {
    const empty = path.join(process.env.MTASTS_LAB_DIR, 'empty.pem')
    fs.writeFileSync(empty, '')
    for (const file of ['/nowhere', empty]) {
      fresh_library(`ca_file = "${file}"\n`)
      await refuses({ 'mta-sts.ini': { main: {} } }, {}, new RegExp(file))
    }
  })

  it('where its own settings are wrong', async () => {
    for (const [key, value, why] of [
      ['ca_file', '/nowhere', /\/nowhere/],
      ['enabled', 'treu', /mta-sts\.ini: enabled: treu is neither true nor false/],
      ['check_route', 'true', /mta-sts\.ini: check_route is not a setting; there are enabled, /],
    ]) {
      await refuses({ 'mta-sts.ini': { main: { [key]: value } } }, {}, why)
    }
  })
})

// A certificate of Haraka's own, for those settings that need one.
function server_certificate() {
  const dir = fs.mkdtempSync('/tmp/haraka-certificate-')
  const [key, cert] = ['key', 'cert'].map((name) => path.join(dir, name))
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=me']
  execFileSync('openssl', [...words, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const files = { 'tls_key.pem': fs.readFileSync(key, 'utf8'), 'tls_cert.pem': fs.readFileSync(cert, 'utf8') }
  fs.rmSync(dir, { recursive: true })
  return files
}
