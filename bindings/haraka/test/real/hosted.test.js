'use strict'

// Mail to domains whose policies `mtasts host` serves (tests/host/hosted.py): what is served is obeyed.

const assert = require('node:assert')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, describe, it } = require('node:test')

const { Host, fresh_library } = require('./host')
const lab = require('./lab')

const PROGRAM = path.join(__dirname, '../../../../tests/host/hosted.py')

describe('a policy that our host serves', { timeout: 120_000 }, () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'hosted-'))
  let hosted

  before(async () => {
    lab.reset()
    fresh_library()
    fs.chmodSync(dir, 0o755)
    const stdio = ['pipe', 'pipe', 'inherit']
    hosted = spawn('python3', [PROGRAM, process.env.MTASTS, path.join(dir, 'files')], { stdio })
    const [octets] = await once(hosted.stdout, 'data')
    assert.match(octets.toString(), /^ready/)
  })

  after(async () => {
    hosted.stdin.end()
    const [status] = await once(hosted, 'exit')
    fs.rmSync(dir, { recursive: true })
    assert.strictEqual(status, 0)
  })

  it('is obeyed', async () => {
    // Its authority is one of the system's here, as that of a policy host on the Internet is.
    const ca_file = '/etc/ssl/certs/ca-certificates.crt'
    const host = await new Host({ 'mta-sts.ini': { main: { ca_file } } }).start()
    try {
      const fates = await host.send(['good.test', 'twomx.test', 'wild.test'])
      assert.deepStrictEqual(Object.fromEntries(Object.entries(fates).map(([domain, { fate }]) => [domain, fate])), {
        'good.test': 'delivered TLS',
        'twomx.test': 'deferred',
        'wild.test': 'delivered TLS',
      })
      const results = (domain) => fates[domain].results.map(({ host, result }) => [host, result])
      assert.deepStrictEqual(results('good.test'), [['mx.good.test', null]])
      assert.deepStrictEqual(results('wild.test'), [['a.wild.test', 'validation-failure']])
    } finally {
      await host.stop()
    }
  })
})
