'use strict'

// Lookups on the test Internet.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { afterEach, beforeEach, test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')

const { Attempt, Resolver, fromNode } = require('..')
const { NODE, PROGRAMS, counters, emptyCache, reset, run, set, silence, table } = require('./lab')

const DAY = 86_400_000

// A new one for each test, because it remembers answers for some seconds.
let resolver

beforeEach(() => {
  reset()
  emptyCache()
  resolver = new Resolver()
})

afterEach(() => resolver.close())

test('every domain of the test Internet', async () => {
  const domains = table()
  // As a mail server does it, which is not root when it asks.
  const names = JSON.stringify(domains.map(({ name }) => name))
  const { code, stdout, stderr } = await run(NODE, [PROGRAMS, 'answers', 'nobody', names])
  assert.equal(code, 0, stderr)
  const { answers, lines } = JSON.parse(stdout)
  const told = (mode, sources) => (answer) => answer.mode === mode && sources.includes(answer.source)
  const learnt = ['fresh', 'cached']
  const fits = {
    enforce: told('enforce', learnt),
    testing: told('testing', learnt),
    none: told('none', learnt),
    absent: told('none', ['no-policy']),
    unknown: told('none', ['could-not-learn']),
  }
  for (const [n, { name, policy, result }] of domains.entries()) {
    const answer = answers[n]
    if (typeof policy === 'string') {
      assert.ok(fits[policy](answer), `${name} ${policy}: ${answer.explanation}`)
    } else {
      assert.ok(told('none', ['could-not-learn', 'no-policy'])(answer), `${name}: ${answer.explanation}`)
      assert.equal(answer.result, result ?? policy.unobtainable, `${name}: ${answer.explanation}`)
      assert.notEqual(answer.detail, '')
    }
  }
  assert.ok(answers.length > 250)
  assert.deepEqual(
    lines.filter((line) => /\n/.test(line)),
    [],
  )
})

test('an answer in full', async () => {
  const begun = Date.now()
  const { explanation, ...answer } = (await resolver.lookup('GOOD.test.')).toJSON()
  assert.ok(Math.abs(answer.fetched - begun) < 60_000, answer.fetched.toISOString())
  assert.equal(answer.expires - answer.fetched, DAY)
  delete answer.fetched
  delete answer.expires
  assert.deepEqual(answer, {
    domain: 'good.test',
    mode: 'enforce',
    source: 'fresh',
    id: '1',
    deferUntil: null,
    mx: ['mx.good.test'],
    policyText: 'version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmax_age: 86400\r\n',
    result: null,
    detail: '',
    warning: '',
  })
  assert.match(explanation, /^good\.test has a policy in mode enforce, id 1/)
  const again = await new Resolver().lookup('good.test')
  assert.equal(again.source, 'cached')
  assert.ok(Object.isFrozen(again.mx))
  assert.equal(new Resolver().lookupCached('good.test').source, 'cached')
  assert.equal((await resolver.lookup('ñaca.test')).domain, 'xn--aca-6ma.test')
})

test('MX hosts and verdicts', async () => {
  const wild = await resolver.lookup('wild.test')
  assert.equal(wild.allowsMx('a.wild.test'), true)
  assert.equal(wild.allowsMx('A.Wild.TEST.'), true)
  assert.equal(wild.allowsMx('a.b.wild.test'), false)
  assert.equal(wild.allowsMx('wild.test'), false)

  const [enforce, testing] = await Promise.all([resolver.lookup('good.test'), resolver.lookup('testing.test')])
  const rows = [
    [{ kind: 'name' }, 'deliver', 'deliver', null],
    [{ kind: 'certificate', result: null }, 'deliver', 'deliver', null],
    [{ kind: 'certificate' }, 'deliver', 'deliver', null],
    [{ kind: 'starttls-not-offered' }, 'skip-host', 'deliver-and-report', 'starttls-not-supported'],
    [{ kind: 'starttls-refused' }, 'skip-host', 'deliver-and-report', 'starttls-not-supported'],
    [{ kind: 'handshake-failed', reason: 'reset' }, 'skip-host', 'deliver-and-report', 'validation-failure'],
    [
      { kind: 'certificate', ...fromNode('CERT_HAS_EXPIRED') },
      'skip-host',
      'deliver-and-report',
      'certificate-expired',
    ],
  ]
  for (const [seen, enforced, tested, result] of rows) {
    for (const [answer, host, action] of [
      [enforce, 'mx.good.test', enforced],
      [testing, 'mx.testing.test', tested],
    ]) {
      const decided = new Attempt(answer, host).saw(seen)
      assert.equal(decided.action, action, JSON.stringify(seen))
      assert.equal(decided.result, result)
      assert.equal(decided.reasonCode === '', result === null)
    }
  }
  const other = new Attempt(enforce, 'mx.elsewhere.test').saw({ kind: 'name' })
  assert.equal(other.action, 'skip-host')
  assert.match(other.sentence, /^mx\.elsewhere\.test is not in the MTA-STS policy of good\.test/)
  assert.equal(enforce.verdictWithoutHost('left').action, 'defer')
  const hosts = [{ host: 'MX.elsewhere.test', reasonCode: 'mx-host-not-in-policy' }, { host: 'mx.good.test' }]
  const given = /; DNS gives: mx\.elsewhere\.test \[mx-host-not-in-policy\], mx\.good\.test\)/
  assert.match(enforce.verdictWithoutHost('left', hosts).sentence, given)
  const denied = enforce.verdictWithoutHost('nxdomain')
  assert.equal(denied.defers, true)
  assert.match(denied.sentence, /NXDOMAIN.*mx\.good\.test/)
  assert.equal(testing.verdictWithoutHost('nxdomain').delivers, true)
  assert.equal(enforce.isSamePolicy(testing), false)
  // What is no host name is not in a policy.
  assert.equal(new Attempt(enforce, 'a_b.good.test').saw({ kind: 'name' }).action, 'skip-host')
  // A good certificate does not allow a host that was refused by its name.
  const refused = new Attempt(enforce, 'mx.elsewhere.test')
  assert.equal(refused.saw({ kind: 'name' }).delivers, false)
  assert.equal(refused.saw({ kind: 'certificate' }).delivers, false)
  const { policyType, policyLines, result } = refused.finish()
  assert.deepEqual([policyType, policyLines[1], result], ['sts', 'mode: enforce', 'validation-failure'])
  // The reason is a stranger's.
  const { sentence } = new Attempt(enforce, 'mx.good.test').saw({ kind: 'handshake-failed', reason: 'a\r\n\0b\u2028' })
  assert.doesNotMatch(sentence, /[\r\n\0\u2028]/)
})

test('a recheck asks although the cache knows', async () => {
  const before = await resolver.lookup('good.test')
  set('good.test', 'txt=v=STSv1; id=new1;', 'policy=version: STSv1\\nmode: none\\nmax_age: 86400\\n')
  assert.equal((await resolver.lookup('good.test')).id, before.id)
  const after = await resolver.recheck('good.test')
  assert.equal(after.isSamePolicy(before), false)
  assert.equal(after.isSamePolicy(await resolver.recheck('good.test')), true)
  assert.deepEqual([after.id, after.mode, after.source], ['new1', 'none', 'fresh'])
  assert.equal((await resolver.lookup('good.test')).id, 'new1')
})

test('many lookups of a domain are one question', async () => {
  const answers = await Promise.all(Array.from({ length: 500 }, () => resolver.lookup('good.test')))
  assert.deepEqual(new Set(answers.map(({ mode }) => mode)), new Set(['enforce']))
  const requests = Object.entries(counters().https).filter(([request]) => request.includes('mta-sts.good.test'))
  assert.deepEqual(
    requests.map(([, count]) => count),
    [1],
  )
})

test('the log hears of what an administrator should know', async () => {
  const lines = []
  resolver = new Resolver({ txtLifeMin: '0s', txtLifeMax: '0s', log: (line) => lines.push(line) })
  await resolver.lookup('good.test')
  assert.deepEqual(lines, [])
  set('good.test', 'txt=v=STSv1; id=2;', 'https=404')
  const answer = await resolver.lookup('good.test')
  assert.equal(answer.source, 'cached-after-failure')
  assert.equal(answer.mode, 'enforce')
  assert.equal(answer.result, 'sts-policy-fetch-error')
  await sleep(10)
  assert.equal(lines.length, 1, lines.join('\n'))
  assert.match(lines[0], /good\.test.*404/)
})

test('a time limit gives what the cache knows', async () => {
  const begun = performance.now()
  const waiting = resolver.lookup('txt-silent.test', { timeout: 400 })
  // As root nothing is known of the cache when the time is over.
  const came = await waiting.then(
    ({ source }) => source,
    ({ code }) => code,
  )
  assert.ok(['could-not-learn', 'ERR_MTASTS_UNAVAILABLE'].includes(came), came)
  const took = performance.now() - begun
  assert.ok(took >= 390 && took < 5000, `${took} ms`)
  for (const timeout of [0, -5, -Infinity]) {
    const hasty = await resolver.lookup('txt-silent.test', { timeout }).then(
      ({ source }) => source,
      ({ code }) => code,
    )
    assert.ok(['could-not-learn', 'ERR_MTASTS_UNAVAILABLE'].includes(hasty), hasty)
  }
  assert.equal((await resolver.lookup('good.test', { timeout: Infinity })).mode, 'enforce')
  assert.equal((await resolver.lookup('good.test', { timeout: 0.1 })).mode, 'enforce')
})

test('an AbortSignal', async () => {
  resolver = new Resolver({ nameservers: [await silence()] })
  const asked = () => resolver.lookup('good.test', { signal: AbortSignal.abort() })
  await assert.rejects(asked(), { name: 'AbortError', code: 20 })

  const mine = new Error('no more')
  await assert.rejects(resolver.lookup('good.test', { signal: AbortSignal.abort(mine) }), mine)

  const control = new AbortController()
  const lookups = ['a.test', 'a.test', 'b.test'].map((domain) => resolver.lookup(domain, { signal: control.signal }))
  const other = resolver.lookup('a.test', { timeout: 6000 }).then(
    () => 'came',
    () => 'came',
  )
  setTimeout(() => control.abort(), 50)
  const begun = performance.now()
  for (const lookup of lookups) await assert.rejects(lookup, { name: 'AbortError' })
  assert.ok(performance.now() - begun < 5000)
  assert.equal(await other, 'came', 'another lookup of the same domain goes on')

  await assert.rejects(resolver.lookup('a.test', { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' })

  // After the answer nothing is left to abort, and no listener is left behind.
  const late = new AbortController()
  let listeners = 0
  const { signal } = late
  const { addEventListener, removeEventListener } = signal
  signal.addEventListener = (...args) => ((listeners += 1), addEventListener.apply(signal, args))
  signal.removeEventListener = (...args) => ((listeners -= 1), removeEventListener.apply(signal, args))
  assert.equal((await new Resolver().lookup('good.test', { signal })).mode, 'enforce')
  assert.equal(listeners, 0)
  late.abort()
})

for (const user of ['nobody', 'root']) {
  test(`without readable roots mail waits, as ${user}`, async (t) => {
    const [roots, config] = ['roots.pem', 'rootless.toml'].map((name) => path.join(process.env.MTASTS_LAB_DIR, name))
    t.after(() => [roots, config].forEach((file) => fs.rmSync(file, { force: true })))
    fs.writeFileSync(config, `${fs.readFileSync('/etc/mtasts/mtasts.toml', 'utf8')}ca_file = "${roots}"\n`)
    for (const [content, why] of [
      [null, /No such file.*ca_file/],
      ['', /no CA certificate in .*ca_file/],
    ]) {
      reset()
      emptyCache()
      fs.rmSync(roots, { force: true })
      if (content !== null) fs.writeFileSync(roots, content)
      const program = [PROGRAMS, 'rootless', user, config, process.env.MTASTS_LAB_CA]
      const { code, stdout, stderr } = await run(NODE, program)
      assert.equal(code, 0, stderr)
      const [without, asked, repaired] = stdout.trim().split('\n').map(JSON.parse)
      for (const { name, code, message } of [...without.lookups, without.check]) {
        assert.deepEqual([name, code], ['MtaStsError', 'ERR_MTASTS_UNAVAILABLE'], message)
        assert.ok(message.includes(roots), message)
      }
      for (const { message } of without.lookups) assert.match(message, why)
      // Not the fault of the domain: its policy host was not even looked for, and nothing is noted.
      assert.deepEqual(
        asked.questions.filter((question) => question.startsWith('mta-sts.')),
        [],
      )
      assert.equal(asked.other.source, 'no-policy', 'a domain without a record needs no roots')
      if (user !== 'root') continue
      assert.deepEqual(repaired.lookup, { mode: 'enforce', source: 'fresh' })
      assert.equal(repaired.check.result, 'validation-failure')
    }
  })
}

test('close rejects what is under way', async () => {
  resolver = new Resolver({ nameservers: [await silence()] })
  const lookups = Array.from({ length: 1000 }, (_, n) => resolver.lookup(`d${n}.test`))
  const cancelled = { name: 'MtaStsError', code: 'ERR_MTASTS_CANCELLED' }
  const all = Promise.all(lookups.map((lookup) => assert.rejects(lookup, cancelled)))
  await sleep(20)
  const begun = performance.now()
  resolver.close()
  await all
  assert.ok(performance.now() - begun < 10_000, `${performance.now() - begun} ms`)
  assert.equal((await new Resolver().lookup('good.test')).mode, 'enforce', 'others go on')
})
