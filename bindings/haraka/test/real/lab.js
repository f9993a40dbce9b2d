'use strict'

// The test Internet around us (`mtasts lab run`).

const { execFileSync } = require('node:child_process')

const ask = (...words) => execFileSync(process.env.MTASTS, ['lab', ...words], { maxBuffer: 1 << 28, encoding: 'utf8' })

// The domains, what is wrong with each, and what a sender must do.
exports.table = () => JSON.parse(ask('list', '--json'))

// What the MX hosts took, and the sessions with them.
exports.mail = () => JSON.parse(ask('mail', '--json'))

exports.counters = () => JSON.parse(ask('counters', '--json'))

// set('good.test', 'mx=554')
exports.set = (domain, ...changes) => void ask('set', domain, ...changes)

// All domains as at first; no mail, no sessions.
exports.reset = () => void ask('reset')
