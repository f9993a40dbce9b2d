'use strict'

// What needs no network: words, arguments, errors, settings.

const assert = require('node:assert/strict')
const dgram = require('node:dgram')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test, describe } = require('node:test')
const { inspect } = require('node:util')

const mtasts = require('..')
const addon = require('../lib/addon')
const { Answer, Attempt, MtaStsError, Resolver } = mtasts

const nowhere = (settings) => new Resolver({ config: null, cacheDir: null, ...settings })

// A settings file that is gone after the test.
function file(t, name, text) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mtasts-'))
  t.after(() => fs.rmSync(directory, { recursive: true }))
  fs.writeFileSync(path.join(directory, name), text)
  return path.join(directory, name)
}

test('the addon names nothing of the machine on which it was built', () => {
  const addon = fs.readFileSync(path.join(__dirname, '..', 'mtasts.node'))
  for (const directory of [os.homedir(), path.join(__dirname, '../../..')]) {
    assert.ok(!addon.includes(`${directory}/`), directory)
  }
})

test('the addon exports nothing of the C interface', () => {
  // The names in a table of symbols are closed by a NUL each.
  const addon = fs.readFileSync(path.join(__dirname, '..', 'mtasts.node'), 'latin1')
  assert.match(addon, /\0napi_register_module_v1\0/)
  assert.doesNotMatch(addon, /\0mtasts_\w+\0/)
})

test('the words of the types and constants are those of the library', () => {
  const types = fs.readFileSync(path.join(__dirname, '../index.d.ts'), 'utf8')
  const within = (begin, end) => types.slice(types.indexOf(begin)).split(end)[0]
  const quoted = (text) => [...text.matchAll(/'([^']+)'/g)].map(([, word]) => word).sort()
  for (const kind of ['Mode', 'Source', 'Action', 'ResultType']) {
    const words = addon.words(kind).sort()
    assert.ok(words.length >= 3, kind)
    assert.deepEqual(Object.values(mtasts[kind]).sort(), words)
    assert.ok(Object.isFrozen(mtasts[kind]))
    assert.deepEqual(quoted(within(`export type ${kind} =`, '\n\n')), words)
    const pairs = [...within(`export const ${kind}:`, '}>').matchAll(/([A-Z_]+): '([^']+)'/g)]
    assert.deepEqual(Object.fromEntries(pairs.map(([, name, word]) => [name, word])), { ...mtasts[kind] })
  }
  const kinds = [...within('export type Seen =', '\n\n').matchAll(/kind: '([^']+)'/g)].map(([, word]) => word)
  assert.deepEqual(kinds.sort(), addon.words('SeenKind').sort())
  // Not of JavaScript: success, C's version of the interface, forks, addresses that are checked for a delivery.
  const others = ['ok', 'abi', 'forked', 'refused']
  const codes = addon
    .words('Status')
    .filter((word) => !others.includes(word))
    .concat('closed')
  const named = quoted(within('readonly code:', '}')).map((code) => code.replace('ERR_MTASTS_', '').toLowerCase())
  assert.deepEqual(named.sort(), codes.sort())
  assert.equal(mtasts.version, require('../package.json').version)
})

test('an attempt counts once', () => {
  const answer = new Resolver().lookupCached('example.com')
  const attempt = new Attempt(answer, 'MX.Example.COM.')
  assert.equal(attempt.host, 'mx.example.com')
  assert.equal(attempt.saw({ kind: 'name' }).delivers, true)
  assert.equal(attempt.saw({ kind: 'starttls-refused' }).delivers, true)
  for (const peer of [{ channel: 'smoke' }, { address: 'mx.example.com' }]) {
    assert.throws(() => attempt.finish(peer), { code: 'ERR_MTASTS_ARGUMENT' })
  }
  assert.deepEqual(attempt.finish({ channel: 'clear', address: '192.0.2.1', localAddress: '2001:DB8::1' }), {
    policyType: 'no-policy-found',
    domain: 'example.com',
    policyLines: [],
    patterns: [],
    host: 'mx.example.com',
    address: '192.0.2.1',
    localAddress: '2001:db8::1',
    result: 'starttls-not-supported',
    reasonCode: 'starttls-refused',
  })
  assert.equal(attempt.finish({ channel: 'clear' }), null)
  const success = new Attempt(answer, 'a_b.example.com').finish({ channel: 'tls' })
  assert.deepEqual([success.host, success.result], ['a_b.example.com', null])
})

describe('settings', () => {
  test('a wrong one is named, with the reason', () => {
    const refused = (settings, message) => {
      assert.throws(() => nowhere(settings), { name: 'MtaStsError', code: 'ERR_MTASTS_SETTINGS', message })
    }
    refused({ timeout: '2h' }, /^timeout: must be between 1s and 10m/)
    refused({ timeout: 1500 }, /^timeout: .*1\.5s/)
    refused({ cacheDir: 'relative' }, /^cache_dir: /)
    refused({ caFile: 'a\0b' }, /^ca_file: /)
    refused({ nameservers: ['192.0.2.1', 'localhost'] }, /^nameservers: .*localhost/)
    refused({ allowAddresses: ['192.0.2.0/33'] }, /^allow_addresses: /)
    refused({ nat64Prefixes: ['2001:db8::/65'] }, /^nat64_prefixes: .*RFC 6052/)
    refused({ txtLifeMin: 'soon' }, /^txt_life_min: /)
    refused({ cacheMax: 0 }, /^cache_max: /)
    refused({ cacheMaxPerParent: '1k' }, /^cache_max_per_parent: /)
    refused({ silenceBudget: '1s' }, /^silence_budget: must be between 5s and 1h/)
    refused({ cacheDir: '/a\0b' }, /^cache_dir: /)
    refused({ exceptions: '/nowhere' }, /\/nowhere/)
    refused({ cacheDirectory: '/var/lib/mtasts' }, /^cache_directory: unknown setting/)
    refused({ config: '/nowhere.toml' }, /^\/nowhere\.toml: /)
  })

  test('DANE is off, and then nothing is asked and the policy decides', async () => {
    const resolver = nowhere({ user: 'nobody' })
    const hosts = await resolver.hosts('example.com', ['mx.example.com'], { timeout: 1 })
    const attempt = new Attempt(resolver.lookupCached('example.com'), 'mx.example.com', hosts)
    const { judge, sni, records, applies, enforces } = attempt
    assert.deepEqual(
      { judge, sni, records, applies, enforces },
      {
        judge: 'sts',
        sni: null,
        records: [],
        applies: false,
        enforces: false,
      },
    )
    assert.equal(attempt.sawChain(resolver, []).delivers, true)
    assert.throws(() => attempt.sawChain(resolver, ['der']), { code: 'ERR_INVALID_ARG_TYPE' })
    assert.throws(() => new Attempt(resolver.lookupCached('example.com'), 'mx.example.com', {}), {
      code: 'ERR_INVALID_ARG_TYPE',
    })
    await assert.rejects(resolver.hosts('a b'), { code: 'ERR_MTASTS_NAME' })
    await assert.rejects(resolver.hosts('example.com', 'mx.example.com'), { code: 'ERR_INVALID_ARG_TYPE' })
    resolver.close()
    await assert.rejects(resolver.hosts('example.com'), { code: 'ERR_MTASTS_CLOSED' })
  })

  test('a name server that says nothing is no error, and the host is skipped', async () => {
    const silent = dgram.createSocket('udp4')
    await new Promise((resolve) => silent.bind(0, '127.0.0.1', resolve))
    const daneResolver = `127.0.0.1:${silent.address().port}`
    const resolver = nowhere({ dane: 'trust', daneResolver, user: 'nobody' })
    const hosts = await resolver.hosts('example.com', ['mx.example.com'], { timeout: 300 })
    const attempt = new Attempt(resolver.lookupCached('example.com'), 'mx.example.com', hosts)
    assert.equal(attempt.judge, 'skip-host')
    assert.equal(attempt.saw({ kind: 'name' }).result, 'dnssec-invalid')
    assert.equal(attempt.finish().policyType, 'tlsa')
    assert.equal(attempt.finish(), null)
    resolver.close()
    silent.close()
  })

  test('the roots that count are told', (t) => {
    const roots = '/etc/ssl/certs/ca-certificates.crt'
    const config = file(t, 'mtasts.toml', `ca_file = "${roots}"\n`)
    for (const [settings, expected] of [
      [{}, null],
      [{ config }, roots],
      [{ config, caFile: '/other/r\u00f6\u00f6ts.pem' }, '/other/r\u00f6\u00f6ts.pem'],
    ]) {
      const resolver = nowhere(settings)
      assert.equal(resolver.caFile, expected)
      resolver.close()
    }
  })

  test('those of the library are taken', () => {
    nowhere({
      caFile: '/etc/ssl/certs/ca-certificates.crt',
      nameservers: ['192.0.2.1', '[2001:db8::1]:5353'],
      timeout: 30_000,
      allowAddresses: ['192.0.2.0/24', '::1'],
      nat64Prefixes: ['2001:db8:64::/96'],
      firstContactDefer: '1h',
      silenceBudget: 30_000,
      cacheMax: 1000,
      cacheMaxPerParent: 100,
      txtLifeMin: '60s',
      txtLifeMax: 3_600_000,
      exceptions: null,
      dane: 'trust strict-both',
      daneResolver: '[::1]:5353',
      daneBogusName: 'bogus.example',
      tlsrptJournal: 'on',
      tlsrptSocket: '/nowhere/socket',
      tlsrptSender: 'tlsrpt@example.com',
      fleet: 'unix:/nowhere/valkey',
      fleetPrefix: 'mtasts:2:',
      fleetKeyFile: '/nowhere/key',
      fleetInsecure: 'off',
      log: undefined,
    })
    nowhere({ timeout: '1m' }).close()
  })

  test("a file in place of the host's, and others on top", (t) => {
    const config = file(t, 'mtasts.toml', 'timeout = "5s"\ncache_dir = "/nowhere"\n')
    new Resolver({ config }).close()
    const wrong = file(t, 'mtasts.toml', 'timeout = "5s"\nretries = 3\n')
    assert.throws(() => new Resolver({ config: wrong }), {
      code: 'ERR_MTASTS_SETTINGS',
      message: `${wrong}: retries: unknown setting`,
    })
  })

  test('types', () => {
    for (const settings of [null, 1, 'text']) assert.throws(() => new Resolver(settings), TypeError)
    assert.throws(() => nowhere({ log: true }), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    assert.throws(() => nowhere({ config: 1 }), TypeError)
  })
})

describe('arguments', () => {
  test('names and addresses that can have no policy', async () => {
    const resolver = nowhere()
    const names = [
      '',
      'a..b',
      'exa mple.com',
      'a_b.com',
      'a\0b.com',
      '\ud800.com',
      'x'.repeat(300),
      'x'.repeat(100_000),
    ]
    for (const domain of [...names, '192.0.2.1', '[192.0.2.1]', '[IPv6:2001:db8::1]', '2001:db8::1']) {
      const answers = [await resolver.lookup(domain), await resolver.recheck(domain), resolver.lookupCached(domain)]
      for (const answer of answers) {
        assert.deepStrictEqual([answer.domain, answer.source, answer.mode], [null, 'no-policy', 'none'], domain)
        assert.match(answer.explanation, /^no policy is possible: ".*" is not a domain name \(.+\)$/)
        const verdict = new Attempt(answer, 'mx.example.com').saw({ kind: 'name' })
        assert.ok(verdict.delivers && verdict.sentence.endsWith('mail is delivered as usual'), verdict.sentence)
      }
    }
  })

  test('types', async () => {
    const resolver = nowhere()
    const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    for (const domain of [undefined, null, 1, {}, Buffer.from('good.test'), Symbol('x')]) {
      await assert.rejects(resolver.lookup(domain), wrong)
      await assert.rejects(mtasts.lookup(domain), wrong)
      assert.throws(() => resolver.lookupCached(domain), wrong)
      assert.throws(() => mtasts.fromNode(domain), wrong)
      assert.throws(() => new Attempt(domain, 'mx.good.test'), wrong)
    }
    for (const options of [{ timeout: NaN }, { timeout: '5' }, { signal: {} }, { signal: null }]) {
      await assert.rejects(resolver.lookup('good.test', options), wrong)
    }
    for (const chain of [undefined, 'text', Buffer.alloc(1), ['text'], [null]]) {
      assert.throws(() => resolver.verifyCertificate('mx.good.test', chain), wrong)
    }
    for (const at of [0, null, new Date(NaN), new Date(0)]) {
      assert.throws(() => resolver.verifyCertificate('mx.good.test', [], at), wrong)
    }
    assert.throws(() => new Answer(), TypeError)
    assert.throws(() => new Answer({}), TypeError)
  })

  test('methods do not go on others', () => {
    for (const method of ['lookupCached', 'close']) {
      assert.throws(() => Resolver.prototype[method].call({}, 'good.test'), TypeError)
    }
    assert.throws(() => Answer.prototype.allowsMx.call({}, 'mx.good.test'), TypeError)
  })
})

test('an answer of an empty cache', () => {
  const answer = new Resolver().lookupCached('Example.COM.')
  assert.ok(answer instanceof Answer)
  assert.deepEqual(JSON.parse(JSON.stringify(answer)), {
    domain: 'example.com',
    mode: 'none',
    source: 'could-not-learn',
    id: null,
    fetched: null,
    expires: null,
    deferUntil: null,
    mx: [],
    policyText: null,
    result: null,
    detail: answer.detail,
    warning: '',
    explanation: answer.explanation,
  })
  assert.match(answer.explanation, /example\.com has a policy: no policy is cached/)
  assert.match(inspect(answer), /^Answer \{\n {2}domain: 'example\.com'/)
  assert.match(inspect([[[answer]]]), /\[Answer\]/)
  assert.equal(answer.allowsMx('mx.example.com'), false)
  assert.deepEqual(new Attempt(answer, 'mx.example.com').saw({ kind: 'name' }), {
    action: 'deliver',
    delivers: true,
    defers: false,
    result: null,
    reasonCode: '',
    sentence: new Attempt(answer, 'mx.example.com').saw({ kind: 'name' }).sentence,
  })
  const verdict = (seen) => () => new Attempt(answer, 'mx.example.com').saw(seen)
  assert.throws(verdict({ kind: 'certificate', result: 'no-such' }), {
    code: 'ERR_MTASTS_ARGUMENT',
    message: /no-such/,
  })
  assert.throws(verdict({ kind: 'certificates' }), { code: 'ERR_MTASTS_ARGUMENT', message: /certificates/ })
  for (const seen of [undefined, null, 'name', {}, { kind: 1 }]) assert.throws(verdict(seen), TypeError)
  assert.equal(new Attempt(answer, 'not a host').saw({ kind: 'name' }).action, 'deliver')
  assert.equal(answer.verdictWithoutHost('nxdomain').action, 'deliver')
  for (const hosts of ['mx', [{}], [null]]) {
    assert.throws(() => answer.verdictWithoutHost('left', hosts), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  assert.throws(() => answer.verdictWithoutHost('none'), { code: 'ERR_MTASTS_ARGUMENT', message: /none/ })
  assert.throws(() => answer.isSamePolicy({}), TypeError)
  assert.equal(answer.isSamePolicy(answer), true)
  assert.equal(answer.allowsMx('192.0.2.1'), false)
})

test('a check of the cache', (t) => {
  assert.equal(nowhere().checkCache(), 'the memory of this process has entries for 0 domains')
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mtasts-'))
  t.after(() => fs.rmSync(directory, { recursive: true }))
  const resolver = nowhere({ cacheDir: directory })
  // The owner of the directory is this process: a user who may use it, or root, who never does.
  const unavailable = { code: 'ERR_MTASTS_UNAVAILABLE', message: /^mail to every domain is deferred.*belongs to root/ }
  if (process.getuid() === 0) assert.throws(() => resolver.checkCache(), unavailable)
  fs.chmodSync(directory, 0o2770)
  if (process.getuid() === 0) fs.chownSync(directory, 65_534, 65_534)
  assert.match(resolver.checkCache(), /^the cache directory .* \(user \w+, mode 2770\) has entries for 0 domains$/)
})

test('what was counted goes to the journal, once', (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mtasts-'))
  t.after(() => fs.rmSync(directory, { recursive: true }))
  if (process.getuid() === 0) fs.chownSync(directory, 65_534, 65_534)
  const resolver = nowhere({ cacheDir: directory, tlsrptJournal: 'on', tlsrptSender: 'tlsrpt@example.com' })
  const journal = () => {
    const files = fs.readdirSync(directory).filter((name) => name.startsWith('.report-'))
    const lines = files.flatMap((name) => fs.readFileSync(path.join(directory, name), 'utf8').split('\n'))
    return lines.filter((line) => line).map((line) => JSON.parse(line))
  }
  const attempt = new Attempt(resolver.lookupCached('example.com'), 'mx.example.com')
  attempt.saw({ kind: 'starttls-not-offered' })
  assert.equal(attempt.report(resolver), true)
  assert.deepEqual(journal(), [], 'nothing was counted yet')
  const { result } = attempt.finish({ channel: 'clear', address: '192.0.2.1' })
  assert.equal(result, 'starttls-not-supported')
  for (let n = 0; n < 2; n++) assert.equal(attempt.report(resolver), true)
  const [{ d: domain, policies }, ...more] = journal()
  assert.equal(domain, 'example.com')
  assert.deepEqual(more, [])
  const [{ c: code, n: host, r: address }] = policies[0]['failure-details']
  assert.deepEqual({ code, host, address }, { code: 201, host: 'mx.example.com', address: '192.0.2.1' })
  // A report about a report would cause the next one.
  for (const mail of [['TLSRPT@example.com'], ['', ' no']]) {
    const uncounted = new Attempt(resolver.lookupCached('example.com'), 'mx.example.com')
    uncounted.carries(resolver, ...mail)
    uncounted.saw({ kind: 'starttls-not-offered' })
    assert.equal(uncounted.finish({ channel: 'clear' }), null)
    assert.equal(uncounted.report(resolver), true)
  }
  assert.equal(journal().length, 1)
  assert.throws(() => attempt.carries(resolver, 1), { name: 'TypeError' })
  resolver.close()
  assert.throws(() => attempt.report(resolver), { code: 'ERR_MTASTS_CLOSED' })
})

test('a closed resolver', async () => {
  const resolver = new Resolver()
  const answer = resolver.lookupCached('example.com')
  resolver.close()
  resolver.close()
  const closed = { name: 'MtaStsError', code: 'ERR_MTASTS_CLOSED' }
  await assert.rejects(resolver.lookup('example.com'), closed)
  await assert.rejects(resolver.recheck('example.com'), closed)
  assert.throws(() => resolver.lookupCached('example.com'), closed)
  assert.throws(() => resolver.verifyCertificate('mx.example.com', []), closed)
  assert.throws(() => resolver.checkCache(), closed)
  assert.equal(answer.domain, 'example.com')
})

test('an error shows what it is', () => {
  const error = new MtaStsError('ERR_MTASTS_NAME', 'no name')
  assert.ok(error instanceof Error)
  assert.match(error.stack, /^MtaStsError: no name\n/)
  assert.match(inspect(error), /MtaStsError: no name\n[^]*code: 'ERR_MTASTS_NAME'/)
})

test("Node's codes in the words of RFC 8460", () => {
  const result = (code) => mtasts.fromNode(code).result
  assert.equal(result('CERT_HAS_EXPIRED'), 'certificate-expired')
  assert.equal(result('ERR_TLS_CERT_ALTNAME_INVALID'), 'certificate-host-mismatch')
  assert.equal(result('SELF_SIGNED_CERT_IN_CHAIN'), 'certificate-not-trusted')
  assert.deepEqual(mtasts.fromNode('a\r\n\0b'), {
    result: 'validation-failure',
    reason: 'the TLS handshake failed (a???b)',
  })
})

test('rubbish is a bad certificate and no error', () => {
  const resolver = nowhere({ caFile: '/etc/ssl/certs/ca-certificates.crt' })
  const shared = Buffer.from(new SharedArrayBuffer(8))
  for (const chain of [[], [Buffer.alloc(0)], [Buffer.alloc(100, 0x30)], [new Uint8Array(3), shared]]) {
    const { result, reason } = resolver.verifyCertificate('mx.example.com', chain)
    assert.ok(Object.values(mtasts.ResultType).includes(result))
    assert.notEqual(reason, '')
  }
  for (const cert of [undefined, {}, { raw: Buffer.alloc(0) }, { raw: Buffer.alloc(9) }]) {
    assert.equal(mtasts.checkServerIdentity('mx.example.com', cert).code, 'ERR_TLS_CERT_ALTNAME_INVALID')
  }
})

test('the same names by require and import', async () => {
  const esm = await import('../index.mjs')
  assert.deepEqual(Object.keys(esm).sort(), [...Object.keys(mtasts), 'default'].sort())
  for (const name of Object.keys(mtasts)) assert.equal(esm[name], mtasts[name])
  assert.equal(esm.default, mtasts)
})
