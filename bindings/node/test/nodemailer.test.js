'use strict'

// The example for nodemailer, with a mail to each domain of the test Internet.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')

const { emptyCache, mail, reset, run, set, table } = require('./lab')

// The example stands beside its packages, as with those who copy it.
const directory = fs.mkdtempSync(path.join(process.env.MTASTS_LAB_DIR, 'nodemailer-'))
const env = { ...process.env, NODE_EXTRA_CA_CERTS: process.env.MTASTS_LAB_CA }

before(() => {
  reset()
  emptyCache()
  fs.mkdirSync(path.join(directory, 'node_modules'))
  fs.symlinkSync(path.join(__dirname, '..'), path.join(directory, 'node_modules/mtasts'))
  fs.symlinkSync(path.join(__dirname, 'node_modules/nodemailer'), path.join(directory, 'node_modules/nodemailer'))
  fs.copyFileSync(path.join(__dirname, '../examples/nodemailer.mjs'), path.join(directory, 'nodemailer.mjs'))
  fs.copyFileSync(path.join(__dirname, 'nodemailer-all.mjs'), path.join(directory, 'all.mjs'))
})

after(() => fs.rmSync(directory, { recursive: true }))

test('a mail to each domain', async () => {
  const domains = table()
  const { code, stdout, stderr } = await run(process.execPath, [path.join(directory, 'all.mjs')], {
    env,
    input: JSON.stringify(domains.map(({ name }) => name)),
    timeout: 200_000,
  })
  assert.equal(code, 0, stderr)
  const outcomes = new Map(JSON.parse(stdout).map((outcome) => [outcome.domain, outcome]))
  const delivered = mail().mail
  const wrong = []
  for (const { name, expect, wrong: how } of domains) {
    const outcome = outcomes.get(name)
    const taken = delivered.filter((each) => JSON.stringify(each).includes(`@${name}`))
    if (!fits(expect, outcome, taken)) wrong.push({ name, how, expect, outcome, taken: taken.length })
  }
  assert.deepEqual(wrong, [])
})

function fits(expect, outcome, taken) {
  if (expect === 'deliver') return outcome.host !== undefined && taken.length === 1
  if (expect === 'bounce') return outcome.permanent === true && taken.length === 0
  const [[kind, { hosts }]] = Object.entries(expect)
  const verified = outcome.verified === true && hosts?.includes(outcome.host) && taken.length === 1
  const deferred = outcome.host === undefined && !outcome.permanent && taken.length === 0
  return { 'deliver-verified': verified, defer: deferred, 'deliver-verified-or-defer': verified || deferred }[kind]
}

const program = (...args) =>
  run(process.execPath, [path.join(directory, 'nodemailer.mjs'), ...args], {
    env,
    input: 'Subject: hello\r\n\r\nHello.\r\n',
  })
const send = (domain) => program('sender@client.test', `user@${domain}`)

test('each failure has its own name', async () => {
  for (const [domain, why] of [
    ['tls11.test', /\[tls-handshake-failed: /],
    ['handshake-reset.test', /\[tls-handshake-failed: /],
    ['nottls.test', /\[tls-handshake-failed: /],
    ['selfsigned.test', /\[certificate-not-trusted: /],
    ['nostarttls.test', /\[starttls-/],
  ]) {
    const { code, stderr } = await send(domain)
    assert.equal(code, 75, stderr)
    assert.match(stderr, why)
  }
  // The policy lists a host that DNS does not know.
  const policy = 'version: STSv1\\nmode: enforce\\nmx: *.nowhere.test\\nmax_age: 86400\\n'
  set('wild.test', 'hosts=mx.nowhere.test', 'txt=v=STSv1; id=nowhere;', `policy=${policy}`)
  const { code, stderr } = await send('wild.test')
  assert.equal(code, 75, stderr)
  assert.match(stderr, /mx\.nowhere\.test/)
  assert.doesNotMatch(stderr, /certificate|handshake/)
})

test('its usage', async () => {
  for (const args of [
    [],
    ['sender@client.test'],
    ['sender@client.test', 'recipient'],
    ['a@b.test', 'c@d.test', 'e@f.test'],
  ]) {
    const { code, stderr } = await program(...args)
    assert.equal(code, 64)
    assert.match(stderr, /^usage: node nodemailer\.mjs SENDER RECIPIENT < message\.eml\n$/)
  }
})

test('on the command line', async () => {
  const good = await send('good.test')
  assert.equal(good.code, 0, good.stderr)
  assert.match(good.stdout, /^mx\.good\.test \(verified\): 250 /)
  const deferred = await send('expired.test')
  assert.equal(deferred.code, 75)
  assert.match(deferred.stderr, /mx\.expired\.test.*expired/)
  assert.match(deferred.stderr, /; DNS gives: mx\.expired\.test \[certificate-expired: /)
  const denied = await send('nullmx.test')
  assert.equal(denied.code, 75, denied.stderr)
  assert.match(denied.stderr, /null MX.*the policy lists its MX hosts/)
  const bounced = await send('nothing.good.test')
  assert.equal(bounced.code, 69, bounced.stderr)
})
