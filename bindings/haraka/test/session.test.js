'use strict'

// The dialogue with one MX host, with Haraka's own way of reading lines.

const assert = require('node:assert')
const { EventEmitter } = require('node:events')
const { beforeEach, describe, it } = require('node:test')

const { add_line_processor } = require('haraka-net-utils')

const Session = require('../lib/session')

let socket, item, attempt, judged, heard, errors, counted
beforeEach(() => {
  socket = Object.assign(new EventEmitter(), { write() {}, upgrade: (options, report) => (socket.up = report) })
  heard = []
  errors = []
  judged = []
  counted = []
  item = { answer: { enforces: true, applies: true }, say() {}, count: (_, { channel }) => counted.push(channel) }
  attempt = {
    host: 'mx.example.com',
    get enforces() {
      return item.answer.enforces
    },
    get applies() {
      return item.answer.applies
    },
    saw(seen) {
      if (seen.kind !== 'name') judged.push(seen.kind)
      return { delivers: seen.kind === 'name' || seen.result === null || !item.answer.enforces }
    },
  }
  add_line_processor(socket)
  const session = new Session(item, attempt, '192.0.2.1', socket)
  socket.on('line', (line) => {
    heard.push(line.trim())
    // As Haraka does.
    if (line.startsWith('250 STARTTLS')) socket.once('secure', () => {})
    if (line.startsWith('220 go')) socket.upgrade({}, () => {})
  })
  socket.on('error', (err) => errors.push(err.message))
  session.stand_between()
})

const say = (...texts) => texts.forEach((text) => socket.emit('data', text))

describe('what comes in clear', () => {
  for (const injected of ['', '250 X', '250-X\r\n250 Y\r\n', '250 X\r\n354 Y']) {
    it(`behind the answer to STARTTLS is not heard: ${JSON.stringify(injected)}`, () => {
      say('220 mx\r\n', '250-mx\r\n250 STARTTLS\r\n', `220 go\r\n${injected}`)
      socket.up(true, null)
      say('250-mx\r\n', '250 OK\r\n')
      assert.deepStrictEqual(heard.slice(-3), ['220 go', '250-mx', '250 OK'])
      assert.deepStrictEqual(errors, [])
    })
  }

  it('costs an enforced host its attempt, and its text is harmless in the log', () => {
    say(`554 \x1b[31m${'x'.repeat(1000)}\r\n`)
    assert.deepStrictEqual(heard, [])
    assert.strictEqual(errors.length, 1)
    assert.match(errors[0], /^mx\.example\.com answered in clear: 554 \?\[31mx+$/)
    assert.ok(errors[0].length < 300)
  })

  it('is Haraka its own affair where nothing is enforced', () => {
    item.answer.enforces = false
    say('554 go away\r\n')
    assert.deepStrictEqual([heard, errors], [['554 go away'], []])
  })
})

describe('a host', () => {
  it('without STARTTLS, or that refuses it, is judged before Haraka hears of it', () => {
    say('220 mx\r\n', '250-mx\r\n', '250 SIZE\r\n')
    assert.deepStrictEqual(judged, ['starttls-not-offered'])
    assert.deepStrictEqual(heard, ['220 mx', '250-mx'])
  })

  it('that refuses STARTTLS too', () => {
    say('220 mx\r\n', '250 STARTTLS\r\n', '454 not now\r\n')
    assert.deepStrictEqual(judged, ['starttls-refused'])
    assert.deepStrictEqual(heard, ['220 mx', '250 STARTTLS'])
  })

  it('that says what is no reply is left', () => {
    say('220 mx\r\n', 'hello\r\n')
    assert.deepStrictEqual(heard, ['220 mx'])
    assert.strictEqual(errors.length, 1)
  })

  it('is counted once, whatever follows', () => {
    say('220 mx\r\n', '250 STARTTLS\r\n', '220 go\r\n')
    socket.up(true, null)
    say('250 mx\r\n', '250 OK\r\n')
    socket.emit('close')
    assert.deepStrictEqual([judged, counted], [['certificate'], ['tls']])
  })

  it('that closes the connection in the handshake has failed it', () => {
    say('220 mx\r\n', '250 STARTTLS\r\n', '220 go\r\n')
    socket.emit('close')
    assert.deepStrictEqual([judged, counted], [['handshake-failed'], ['clear']])
  })

  it('without a policy is left to Haraka, and counted too', () => {
    item.answer = { enforces: false, applies: false }
    for (const [replies, expected] of [
      [['250 STARTTLS\r\n', '220 go\r\n'], []],
      [['250 X\r\n'], ['starttls-not-offered']],
    ]) {
      judged = []
      const other = Object.assign(new EventEmitter(), {
        write() {},
        upgrade: (options, report) => report(false, 'bad'),
      })
      add_line_processor(other)
      const told = []
      other.on('line', (line) => {
        if (line.startsWith('250 STARTTLS')) other.once('secure', () => {})
        if (line.startsWith('220 go')) other.upgrade({}, (...args) => told.push(args))
      })
      new Session(item, attempt, '192.0.2.1', other).stand_between()
      for (const text of ['220 mx\r\n', ...replies]) other.emit('data', text)
      assert.deepStrictEqual(judged, expected)
      if (expected.length === 0) assert.deepStrictEqual(told, [[false, 'bad']])
    }
    assert.deepStrictEqual(counted, ['tls', 'clear'])
  })
})
