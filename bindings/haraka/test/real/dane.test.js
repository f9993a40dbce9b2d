'use strict'

// The domains of the test Internet with TLSA records, for a Haraka whose name server validates.

const assert = require('node:assert')
const fs = require('node:fs')
const { after, before, describe, it } = require('node:test')

const { Host, fresh_library, line } = require('./host')
const lab = require('./lab')

const table = lab.table().filter(({ name }) => name.startsWith('dane') || name === 'signed.test')
const domains = table.map(({ name }) => name)
// Its MX records are signed, and its TLSA records match: the policy that does not list the host is only reported (D-15).
const DIFFERS = '--differs=dane-nomatch.test=verified'

describe('DANE', { timeout: 120_000 }, () => {
  let host, fates
  before(async () => {
    const [, server] = /^nameserver\s+(\S+)/m.exec(fs.readFileSync('/etc/resolv.conf', 'utf8'))
    lab.reset()
    fresh_library(`dane = "trust"\ndane_resolver = "${server}"\n`)
    host = await new Host().start()
    fates = await host.send(domains, 60)
  })
  after(() => host?.stop())

  it('decides before the policy does', () => {
    assert.ok(domains.length > 10, domains.join())
    const lines = domains.map((name) => line(name, fates[name]))
    const { right, text } = lab.judge(lines, '--dane', `--only=${domains.join()}`, DIFFERS)
    assert.ok(right, text)
  })

  it('is counted by its records', () => {
    const of = (name) => fates[name].results.map(({ policyType, result }) => [policyType, result])
    assert.deepStrictEqual(of('dane-selfsigned.test'), [['tlsa', null]])
    assert.deepStrictEqual(of('dane-mismatch.test'), [['tlsa', 'validation-failure']])
    assert.deepStrictEqual(of('dane-bogus.test'), [['tlsa', 'dnssec-invalid']])
    assert.deepStrictEqual(of('signed.test'), [['sts', null]])
  })
})
