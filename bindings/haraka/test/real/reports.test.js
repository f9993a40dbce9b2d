'use strict'

// A report that the reporter has signed goes out by Haraka: its signature verifies, and no report counts that session.

const assert = require('node:assert')
const { execFileSync, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, describe, it } = require('node:test')

const { Host, PORT, fresh_library, journal } = require('./host')
const lab = require('./lab')

const { MTASTS, MTASTS_LAB_DIR, OPENDKIM } = process.env
const CACHE = path.join(MTASTS_LAB_DIR, 'cache')
const SENDER = 'tlsrpt@good.test'
const RECEIVER = 'wild.test'

// A sendmail(1) that hands the mail to Haraka: -i -t -f ADDRESS.
const SENDMAIL = `#!/usr/bin/env python3
import email, smtplib, sys
text = sys.stdin.buffer.read()
with smtplib.SMTP("127.0.0.1", ${PORT}) as smtp:
    smtp.sendmail(sys.argv[-1], [email.message_from_bytes(text)["To"]], text.replace(b"\\n", b"\\r\\n"))
`

describe('a report', { timeout: 120_000 }, () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'))
  const file = (name) => path.join(dir, name)
  const write = (name, text) => {
    fs.writeFileSync(file(name), text)
    return file(name)
  }
  const openssl = (...words) => execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] })
  const report = (...words) => {
    const { status, stdout, stderr } = spawnSync(MTASTS, ['report', ...words, '--settings', file('report.toml')], {
      encoding: 'utf8',
    })
    assert.strictEqual(status, 0, stdout + stderr)
    return stdout
  }
  let host
  let key

  before(async () => {
    lab.reset()
    fs.chmodSync(dir, 0o755)
    fresh_library(`tlsrpt_journal = "on"\ntlsrpt_sender = "${SENDER}"\n`)
    openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', file('key.pem'))
    const { uid, gid } = fs.statSync(CACHE)
    fs.chownSync(file('key.pem'), uid, gid)
    const spki = openssl('pkey', '-in', file('key.pem'), '-pubout', '-outform', 'DER')
    key = `v=DKIM1; p=${spki.toString('base64')}`
    await lab.change('good.test', { 'txt-at': { '': 'v=spf1 mx -all', 's._domainkey': key } })
    await lab.change(RECEIVER, { 'txt-at': { '_smtp._tls': `v=TLSRPTv1; rua=mailto:reports@${RECEIVER}` } })
    fs.chmodSync(write('sendmail', SENDMAIL), 0o755)
    write('report.toml', `sendmail = "${file('sendmail')}"\ndkim_selector = "s"\ndkim_key = "${file('key.pem')}"\n`)
    // A session of yesterday.
    const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10)
    const results = path.join(CACHE, `.report-${yesterday}-host`)
    const session = { dpv: '1', d: RECEIVER, policies: [{ 'policy-type': 2, t: 0, f: 0 }] }
    fs.writeFileSync(results, `\n${JSON.stringify(session)}\n`, { mode: 0o600 })
    fs.chownSync(results, uid, gid)
    host = await new Host().start()
  })

  after(async () => {
    await host?.stop()
    fs.rmSync(dir, { recursive: true })
  })

  it('arrives, and its signature verifies', async () => {
    assert.match(report('check'), /the reporter signs/)
    assert.match(report('run', '--at-once'), /^reports: 1 sent, 0 failed/)
    const of_report = ({ recipients }) => recipients.includes(`reports@${RECEIVER}`)
    const mail = await host.until('the report', () => lab.mail().mail.find(of_report))
    assert.strictEqual(mail.sender, SENDER)
    const mails = write('mail.eml', mail.body.replaceAll('\r\n', '\n').replaceAll('\n', '\r\n'))
    const keys = write('keys', `s._domainkey.good.test ${key}\n`)
    const config = write('opendkim.conf', `Mode v\nTestPublicKeys ${keys}\n`)
    const lib = path.join(OPENDKIM, 'usr/lib')
    const said = spawnSync(path.join(OPENDKIM, 'usr/sbin/opendkim'), ['-x', config, '-vvt', mails], {
      encoding: 'utf8',
      env: { LD_LIBRARY_PATH: [lib, ...fs.readdirSync(lib).map((name) => path.join(lib, name))].join(':') },
    })
    assert.match(said.stdout + said.stderr, /verification \(s=s, d=good\.test.*succeeded/s)
  })

  it('is in no report', async () => {
    const sessions = () => journal().filter(([domain]) => domain === RECEIVER).length
    assert.strictEqual(sessions(), 1, 'only that of yesterday')
    await host.send([RECEIVER])
    assert.strictEqual(sessions(), 2, 'another mail is counted')
  })
})
