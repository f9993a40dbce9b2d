'use strict'

// The test Internet around us (`mtasts lab run`).

const { execFileSync, spawnSync } = require('node:child_process')
const net = require('node:net')

const ask = (...words) => execFileSync(process.env.MTASTS, ['lab', ...words], { maxBuffer: 1 << 28, encoding: 'utf8' })

// The domains, what is wrong with each, and what a sender must do.
exports.table = () => JSON.parse(ask('list', '--json'))

// What the MX hosts took, and the sessions with them.
exports.mail = () => JSON.parse(ask('mail', '--json'))

// Whether these lines of a driver are what the table says (tests/kit/README.md), and which are not.
exports.judge = (lines, ...options) => {
  const input = lines.map((line) => `${line}\n`).join('')
  const { status, stdout, stderr } = spawnSync(process.env.MTASTS, ['lab', 'judge', ...options], {
    input,
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  })
  return { right: status === 0, text: stdout + stderr }
}

exports.counters = () => JSON.parse(ask('counters', '--json'))

// set('good.test', 'mx=554')
exports.set = (domain, ...changes) => void ask('set', domain, ...changes)

// All domains as at first; no mail, no sessions.
exports.reset = () => void ask('reset')

// change('good.test', { 'txt-at': { '_smtp._tls': '...' } }): what `set` has no word for.
exports.change = (domain, change) =>
  new Promise((resolve, reject) => {
    const socket = net.connect(process.env.MTASTS_LAB)
    socket.once('error', reject)
    socket.once('data', (answer) => {
      socket.destroy()
      const { error } = JSON.parse(answer)
      if (error) reject(new Error(error))
      else resolve()
    })
    socket.write(`${JSON.stringify({ op: 'set', domain, ...change })}\n`)
  })
