'use strict'

// sys4's tlsrpt-reporter beside ours (tests/tlsrpt/sys4.py).

const assert = require('node:assert')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { createInterface } = require('node:readline')

const PROGRAM = path.join(__dirname, '../../../../tests/tlsrpt/sys4.py')

// Its collector. Each domain of the test Internet asks for reports.
exports.start = async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sys4-'))
  const child = spawn('python3', [PROGRAM, process.env.SYS4, dir, '10000'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async (line) => {
    if (line) child.stdin.write(`${line}\n`)
    const { value } = await answers.next()
    return value?.replaceAll('\\n', '\n')
  }
  assert.strictEqual(await ask(), 'ready')
  assert.match(await ask(`records ${process.env.MTASTS}`), /^ok /)
  return {
    socket: path.join(dir, 'socket'),
    // Ends its day: what differs between its reports and those of the journals, or "ok" and the number of domains.
    compare: (cache) => ask(`compare ${process.env.MTASTS} ${cache}`),
    stop: () => {
      child.stdin.end()
      child.once('exit', () => fs.rmSync(dir, { recursive: true }))
    },
  }
}
