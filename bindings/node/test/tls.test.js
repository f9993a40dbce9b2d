'use strict'

// Real handshakes with the MX hosts of the test Internet: what Node says of them, in the words of RFC 8460.

const assert = require('node:assert/strict')
const dns = require('node:dns/promises')
const { after, test } = require('node:test')
const tls = require('node:tls')

const { Attempt, Resolver, checkServerIdentity, fromNode } = require('..')
const { ca, reset, table } = require('./lab')
const { handshake, starttls } = require('./smtp')

const resolver = new Resolver()
after(() => resolver.close())
reset()

// Those whose only MX host is what is wrong with them.
const codes = new Set()
const broken = table().filter(
  ({ name, policy, result }) => policy === 'enforce' && result && !/^(dane|mixed)/.test(name),
)
const fine = ['good.test', 'twomx.test', 'tls12.test', 'wildcert.test', 'empty-subject.test', 'cname-mx.test']

async function host(domain) {
  const records = await dns.resolveMx(domain).catch(() => [])
  return records[0]?.exchange ?? domain
}

async function meet(domain, options) {
  const mx = await host(domain)
  const { seen, socket } = await starttls(mx)
  return { mx, seen, ...(socket && (await handshake(socket, mx, { ca: ca(), checkServerIdentity, ...options }))) }
}

for (const { name, wrong, result } of broken) {
  test(`${name}: ${wrong}`, async () => {
    const answer = await resolver.lookup(name)
    const mx = await host(name)
    if (new Attempt(answer, mx).saw({ kind: 'name' }).action === 'skip-host') {
      assert.equal(new Attempt(answer, mx).saw({ kind: 'name' }).result, result)
      return
    }
    const strict = await meet(name, { rejectUnauthorized: true })
    let { seen } = strict
    if (!seen) {
      assert.ok(strict.code, strict.error?.stack)
      codes.add(strict.code)
      seen = { kind: 'certificate', ...fromNode(strict.code) }
    }
    const verdict = new Attempt(answer, mx).saw(seen)
    assert.deepEqual([verdict.action, verdict.result], ['skip-host', result], `${strict.code}: ${verdict.sentence}`)

    // In mode testing the handshake goes on, and tells the same.
    const lax = await meet(name, { rejectUnauthorized: false })
    if (lax.chain) {
      assert.equal(lax.authorized, false)
      assert.equal(fromNode(lax.code).result, result, lax.code)
      // And so does the library's own check of the chain.
      assert.equal(resolver.verifyCertificate(mx, lax.chain).result, result)
    }
  })
}

for (const name of fine) {
  test(`${name}: nothing is wrong`, async () => {
    const { mx, authorized, code, chain } = await meet(name, { rejectUnauthorized: true })
    assert.deepEqual({ authorized, code }, { authorized: true, code: null })
    assert.deepEqual(resolver.verifyCertificate(mx, chain), { result: null, reason: '' })
    const year = 365 * 86_400_000
    const late = resolver.verifyCertificate(mx, chain, new Date(Date.now() + 50 * year))
    assert.equal(late.result, 'certificate-expired')
  })
}

test('the library knows a name where Node takes another', async () => {
  // Node takes the common name; the library does not.
  const loose = await meet('cnonly.test', { rejectUnauthorized: true, checkServerIdentity: tls.checkServerIdentity })
  assert.equal(loose.authorized, true)
  const strict = await meet('cnonly.test', { rejectUnauthorized: true })
  assert.equal(strict.error.code, 'ERR_TLS_CERT_ALTNAME_INVALID')
  assert.equal(strict.error.host, 'mx.cnonly.test')
  assert.match(strict.error.message, /mx\.cnonly\.test/)
  assert.equal(strict.error.reason, strict.error.message)
})

test('an address is never a name', async () => {
  const { socket } = await starttls('mx.good.test')
  const address = socket.remoteAddress
  const { code } = await handshake(socket, undefined, { host: address, ca: ca(), checkServerIdentity })
  assert.equal(code, 'ERR_TLS_CERT_ALTNAME_INVALID')
})

test('all of these codes were really met', () => {
  const expected = [
    'CERT_HAS_EXPIRED',
    'CERT_NOT_YET_VALID',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'ECONNRESET',
    'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
    'ERR_SSL_WRONG_VERSION_NUMBER',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'INVALID_PURPOSE',
    'SELF_SIGNED_CERT_IN_CHAIN',
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  ]
  // What is said of a CA that may not sign for the name differs between versions.
  assert.deepEqual(
    expected.filter((code) => !codes.has(code)),
    [],
  )
})
