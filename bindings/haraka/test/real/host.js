'use strict'

// A mail host with a real Haraka. Mail goes in over SMTP; what became of it is read from the queue directory, from the
// log, from Haraka's own hooks and from the mailboxes of the test Internet.

const { spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')

const lab = require('./lab')

const { HARAKA_APP } = process.env
const NOBODY = 65534
const PORT = 2525

// Mail that is deferred is not tried again during a test, and hosts that say nothing are soon given up.
const CONFIG = {
  'smtp.ini': { main: { listen: `127.0.0.1:${PORT}`, user: 'nobody', group: 'nogroup' } },
  'outbound.ini': { main: { temp_fail_intervals: '1h*12', connect_timeout: 8 } },
  'net-utils.ini': { dns: { timeout: 5000, tries: 2 }, main: {} },
  'log.ini': { main: { level: 'INFO' } },
  'mta-sts.ini': { main: { ca_file: process.env.MTASTS_LAB_CA } },
  me: 'sender.test',
  plugins: ['open', 'mta-sts', 'journal'],
}

// The Haraka of the test, where the user `nobody` can read it.
let app
function reachable_app() {
  if (app) return app
  app = fs.mkdtempSync(path.join(os.tmpdir(), 'haraka-app-'))
  run('mount', '--bind', HARAKA_APP, app)
  fs.chmodSync(app, 0o755)
  return app
}

function run(command, ...args) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error ?? stderr}`)
}

// The settings of libmtasts that every program of the host shares, and an empty cache.
function fresh_library(settings = '', timeout = '3s') {
  const cache = path.join(process.env.MTASTS_LAB_DIR, 'cache')
  for (const name of fs.readdirSync(cache)) fs.rmSync(path.join(cache, name), { recursive: true, force: true })
  const addresses = 'allow_addresses = ["198.18.0.0/15", "2001:2::/48"]'
  fs.writeFileSync(
    '/etc/mtasts/mtasts.toml',
    `cache_dir = "${cache}"\ntimeout = "${timeout}"\n${addresses}\n${settings}`,
  )
}

// What is in the journal for TLS reports: domain, kind of policy and result type of each session, as libtlsrpt numbers them.
function journal() {
  const cache = path.join(process.env.MTASTS_LAB_DIR, 'cache')
  const files = fs.readdirSync(cache).filter((name) => /^\.report-\d{4}-\d\d-\d\d-[^.]*$/.test(name))
  const lines = files.flatMap((name) => fs.readFileSync(path.join(cache, name), 'utf8').split('\n'))
  const sessions = lines.filter((line) => line).map((line) => JSON.parse(line))
  return sessions.map(({ d, policies: [policy] }) => [d, policy['policy-type'], policy['failure-details']?.[0].c ?? 0])
}

function ini(sections) {
  const lines = Object.entries(sections).map(([name, entries]) => {
    const settings = Object.entries(entries).flatMap(([key, values]) => [values].flat().map((one) => `${key}=${one}`))
    return [`[${name}]`, ...settings, ''].join('\n')
  })
  return lines.join('\n')
}

// A real redis, with nothing in it.
async function fresh_redis() {
  const child = spawn('redis-server', ['--save', '', '--bind', '127.0.0.1', '--dir', os.tmpdir()], { stdio: 'ignore' })
  const cli = (...words) => {
    const { stdout, stderr, status, error } = spawnSync('redis-cli', words, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`redis-cli ${words.join(' ')}: ${error ?? stderr}`)
    return stdout
  }
  const DATABASES = [...Array(16).keys()].map(String)
  for (let n = 0; ; n++) {
    try {
      cli('PING')
      break
    } catch (err) {
      if (n === 200) throw err
      await sleep(50)
    }
  }
  return {
    cli,
    everywhere: (...words) => DATABASES.forEach((db) => cli('-n', db, ...words)),
    everything: () => DATABASES.flatMap((db) => cli('-n', db, 'KEYS', '*').split('\n').filter(Boolean)),
    stop: () => child.kill('SIGKILL'),
  }
}

// What is to be removed at the end.
const dirs = []

class Host {
  // `config`: files of the configuration, each laid over CONFIG; null for none.
  constructor(config = {}, { env = {}, node = [] } = {}) {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'haraka-'))
    dirs.push(this.dir)
    this.env = env
    this.node = node
    for (const dir of ['queue', 'plugins']) fs.mkdirSync(path.join(this.dir, dir))
    // As `haraka -i` does.
    const defaults = path.join(reachable_app(), 'node_modules/Haraka/config')
    fs.cpSync(defaults, path.join(this.dir, 'config'), { recursive: true })
    fs.symlinkSync(path.join(reachable_app(), 'node_modules'), path.join(this.dir, 'node_modules'))
    for (const name of ['open', 'journal', 'denysoft', 'early']) {
      fs.copyFileSync(path.join(__dirname, 'plugins', `${name}.js`), path.join(this.dir, 'plugins', `${name}.js`))
    }
    for (const name of new Set([...Object.keys(CONFIG), ...Object.keys(config)])) {
      this.configure(name, config[name] === undefined ? CONFIG[name] : config[name])
    }
    run('chown', '-R', (config['smtp.ini'] ?? CONFIG['smtp.ini']).main.user, this.dir)
    fs.chmodSync(this.dir, 0o755)
  }

  configure(name, value) {
    const file = path.join(this.dir, 'config', name)
    if (value === null) return fs.rmSync(file, { force: true })
    const text = Array.isArray(value) ? value.join('\n') : typeof value === 'object' ? ini(value) : String(value)
    fs.writeFileSync(file, `${text}\n`)
  }

  async start() {
    const out = fs.openSync(path.join(this.dir, 'log'), 'a')
    const haraka = path.join(reachable_app(), 'node_modules/Haraka/bin/haraka')
    const { PATH, HARAKA_APP } = process.env
    const env = { PATH, HARAKA_APP, JOURNAL: path.join(this.dir, 'journal'), ...this.env }
    const before = this.log().length
    this.child = spawn(process.execPath, [...this.node, haraka, '-c', this.dir], { env, stdio: ['ignore', out, out] })
    this.ended = new Promise((resolve) => this.child.once('exit', (code, signal) => resolve({ code, signal })))
    fs.closeSync(out)
    await this.until('listens', async () => {
      if (this.child.exitCode !== null) throw new Error(`Haraka ended at once:\n${this.log().slice(before)}`)
      return can_connect()
    })
    return this
  }

  // As a crash does.
  async kill() {
    this.child.kill('SIGKILL')
    await this.ended
    await this.until('is gone', async () => !(await can_connect()))
  }

  // As a service manager does that stops it gracefully.
  async interrupt() {
    this.child.kill('SIGINT')
    await this.ended
  }

  async stop() {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return
    await this.kill()
  }

  async until(what, test, seconds = 60) {
    const end = Date.now() + seconds * 1000
    for (;;) {
      const value = await test()
      if (value) return value
      if (Date.now() > end) throw new Error(`in ${seconds} s: not ${what}\n${this.log().slice(-6000)}`)
      await sleep(50)
    }
  }

  log() {
    try {
      return fs.readFileSync(path.join(this.dir, 'log'), 'utf8')
    } catch {
      return ''
    }
  }

  // The log lines in which all these words stand.
  lines(...words) {
    return this.log()
      .split('\n')
      .filter((line) => words.every((word) => line.includes(word)))
  }

  // What Haraka's hooks told, each with the results of the plugin.
  journal() {
    try {
      const lines = fs.readFileSync(path.join(this.dir, 'journal'), 'utf8').split('\n')
      return lines.filter(Boolean).map((line) => JSON.parse(line))
    } catch {
      return []
    }
  }

  // What the queue directory holds: for each mail its domain, and how often it was tried in vain.
  queue() {
    const dir = path.join(this.dir, 'queue')
    return fs.readdirSync(dir).flatMap((name) => {
      const match = /^\d+_\d+_(\d+)_/.exec(name)
      if (!match) return []
      try {
        const octets = fs.readFileSync(path.join(dir, name))
        const { domain, rcpt_to } = JSON.parse(octets.subarray(4, 4 + octets.readUInt32BE(0)).toString())
        return [{ domain, rcpt_to, attempts: Number(match[1]) }]
      } catch (err) {
        // It was delivered or renamed under our eyes.
        if (err.code === 'ENOENT') return []
        throw err
      }
    })
  }

  // Sends one mail to each of the domains and waits until each has been tried.
  async send(domains, seconds = 90, mail = {}) {
    const seen = this.journal().length
    await submit(domains, mail)
    const told = () =>
      new Set(
        this.journal()
          .slice(seen)
          .map(({ domain }) => domain),
      )
    await this.until(
      `tried: ${domains.slice(0, 5)}`,
      () => {
        const done = told()
        return domains.every((domain) => done.has(domain))
      },
      seconds,
    ).catch((err) => {
      const done = told()
      throw new Error(`nothing became of ${domains.filter((domain) => !done.has(domain))}: ${err.message}`)
    })
    // The hooks tell of a mail before its file in the queue is removed or renamed.
    const isNew = ({ domain, attempts }) => attempts === 0 && domains.includes(domain)
    await this.until('settled', () => !this.queue().some(isNew), 10).catch(() => {})
    return this.fates(domains, seen)
  }

  // What became of the mail to each domain: told by the hooks, and proven by queue and mailbox.
  fates(domains, seen = 0) {
    const { mail } = lab.mail()
    const queue = this.queue()
    const journal = this.journal().slice(seen)
    const fates = domains.map((domain) => {
      const arrived = mail.filter((one) => one.recipients.some((to) => to.endsWith(`@${domain}`)))
      const waiting = queue.filter((one) => one.domain === domain)
      const told = journal.filter((one) => one.domain === domain).at(-1)
      return [domain, { fate: fate(arrived, waiting, told), arrived, told, err: told?.err, results: told?.results }]
    })
    return Object.fromEntries(fates)
  }
}

function fate(arrived, waiting, told) {
  if (arrived.length === 0 && waiting.some((one) => one.attempts > 0)) return 'deferred'
  if (arrived.length === 0 && waiting.length === 0 && told?.hook === 'bounce') return 'bounced'
  if (arrived.length === 1 && waiting.length === 0) return arrived[0].tls ? 'delivered TLS' : 'delivered PLAIN'
  const hook = told?.hook ?? 'nothing'
  return `strange: ${arrived.length} arrived, ${waiting.length} waiting, told ${hook}`
}

// The same as the line of a driver (tests/kit/README.md). The plugin counts a success if it has verified the host.
function line(domain, { fate, told, err, results = [] }) {
  const judged = results.filter(({ policyType }) => policyType !== 'no-policy-found')
  const verified = judged.find(({ result }) => result === null)
  const [end, host] = !fate.startsWith('delivered')
    ? [fate, '-']
    : verified
      ? ['verified', verified.host]
      : ['delivered', told.host]
  const failures = judged.flatMap(({ result }) => result ?? [])
  return `${[domain, end, host, ...failures].join(' ')}\t${(err ?? '').replaceAll('\n', ' ')}`
}

async function can_connect() {
  return new Promise((resolve) => {
    const socket = net.connect(PORT, '127.0.0.1')
    socket.once('connect', () => resolve(true) || socket.destroy())
    socket.once('error', () => resolve(false))
  })
}

// One connection, one mail after the other. A bounce of a mail without a sender goes nowhere.
async function submit(domains, { sender = '', header = '' } = {}) {
  const socket = net.connect(PORT, '127.0.0.1')
  socket.setTimeout(30_000, () => socket.destroy(new Error('Haraka does not answer')))
  const replies = replies_of(socket)
  const command = async (text, code) => {
    if (text !== undefined) socket.write(`${text}\r\n`)
    const { value, done } = await replies.next()
    if (done || !value.startsWith(code)) throw new Error(`${text ?? 'connect'}: ${value}`)
  }
  await command(undefined, '220')
  await command('EHLO client.test', '250')
  for (const domain of domains) {
    await command(`MAIL FROM:<${sender}>`, '250')
    await command(`RCPT TO:<user@${domain}>`, '250')
    await command('DATA', '354')
    await command(`From: a@sender.test\r\nSubject: hello\r\n${header}\r\nhello ${domain}\r\n.`, '250')
  }
  socket.end('QUIT\r\n')
}

async function* replies_of(socket) {
  let text = ''
  for await (const octets of socket) {
    text += octets
    for (let match; (match = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(text));) {
      text = text.slice(match[0].length)
      yield match[0].slice(match[0].trimEnd().lastIndexOf('\n') + 1)
    }
  }
}

process.once('exit', () => {
  for (const dir of dirs) fs.rmSync(dir, { recursive: true })
  if (!app) return
  spawnSync('umount', ['--lazy', app])
  fs.rmdirSync(app)
})

module.exports = { CONFIG, Host, NOBODY, PORT, fresh_library, fresh_redis, journal, line, reachable_app, submit }
