'use strict'

// The test Internet around us: these tests run in `mtasts lab run`.

const dgram = require('node:dgram')
const fs = require('node:fs')
const path = require('node:path')
const { execFileSync, spawn } = require('node:child_process')

if (!process.env.MTASTS_LAB) throw new Error('these tests stand on the test Internet: make test')

// Copies of the package, of the command and of Node, for programs that become another user. On Debian 13 no other user may
// enter the home in which the checkout is, and a Node of its own with it.
const OPEN = path.join(process.env.MTASTS_LAB_DIR, 'open')
const NODE = path.join(OPEN, 'node')
const PROGRAMS = path.join(OPEN, 'test/programs.js')
const IS_OPEN = __filename.startsWith(OPEN)
const MTASTS = IS_OPEN
  ? path.join(OPEN, 'mtasts')
  : (process.env.MTASTS ?? path.join(__dirname, '../../../target/debug/mtasts'))
if (!IS_OPEN && !fs.existsSync(OPEN)) {
  for (const part of ['package.json', 'index.js', 'lib', 'mtasts.node', 'test/lab.js', 'test/programs.js']) {
    fs.cpSync(path.join(__dirname, '..', part), path.join(OPEN, part), { recursive: true })
  }
  fs.copyFileSync(MTASTS, path.join(OPEN, 'mtasts'))
  fs.copyFileSync(process.execPath, NODE)
}

const lab = (...words) => execFileSync(MTASTS, ['lab', ...words], { encoding: 'utf8' })

// The domains, what is wrong with them, and what a conformant sender must do.
const table = () => JSON.parse(lab('list', '--json'))
const set = (domain, ...changes) => lab('set', domain, ...changes)
const reset = () => lab('reset')
const mail = () => JSON.parse(lab('mail', '--json'))
const counters = () => JSON.parse(lab('counters', '--json'))

// Forgets what is known of all domains.
function emptyCache() {
  const cache = path.join(process.env.MTASTS_LAB_DIR, 'cache')
  for (const file of fs.readdirSync(cache)) fs.rmSync(path.join(cache, file), { recursive: true, force: true })
}

const ca = () => fs.readFileSync(process.env.MTASTS_LAB_CA)

// A name server that never answers: what is asked with it stays under way. It keeps no process alive.
async function silence() {
  const socket = dgram.createSocket('udp4')
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve))
  socket.unref()
  return `127.0.0.1:${socket.address().port}`
}

// Runs a program to its end; that it takes longer than a minute is a failure of its own.
function run(file, args, options = {}) {
  const { input, ...others } = options
  const child = spawn(file, args, { stdio: 'pipe', timeout: 60_000, killSignal: 'SIGKILL', ...others })
  const said = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', (text) => (said[stream] += text))
  }
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, ...said }))
  })
}

module.exports = { MTASTS, NODE, PROGRAMS, ca, counters, emptyCache, mail, reset, run, set, silence, table }
