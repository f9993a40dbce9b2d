'use strict'

// Processes, workers and event loops that end in the middle of lookups, or because there are none.

const assert = require('node:assert/strict')
const { test, describe } = require('node:test')

const { NODE, PROGRAMS, emptyCache, run } = require('./lab')

async function program(name, user, ...args) {
  const ended = await run(NODE, ['--expose-gc', PROGRAMS, name, user, ...args])
  return {
    ...ended,
    said: ended.stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  }
}

// One that must end well, with nothing to complain of.
async function good(...args) {
  const { code, signal, stderr, said } = await program(...args)
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  return said
}

for (const user of ['root', 'nobody']) {
  describe(`as ${user}`, () => {
    test('process.exit with lookups under way', async () => {
      for (let n = 0; n < 15; n++) {
        const { code, signal, stderr } = await program('exit', user, String(n * 10))
        assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' }, `run ${n}`)
      }
    })

    test('the loop ends by itself after the last lookup, and a resolver does not hold it', async () => {
      emptyCache()
      const [modes, { idle }] = await good('ends', user)
      assert.deepEqual(modes, ['enforce', 'testing', 'none'])
      assert.ok(idle < 10_000, `ended ${idle} ms after the last answer`)
    })

    test('a lookup under way holds the loop', async () => {
      const [{ source, code, after }] = await good('waits', user)
      // Root itself knows nothing of the cache when the time is over.
      if (user === 'root') assert.ok(source === 'could-not-learn' || code === 'ERR_MTASTS_UNAVAILABLE', source ?? code)
      else assert.equal(source, 'could-not-learn')
      assert.ok(after >= 1900, `after ${after} ms`)
    })

    test('no thread and no descriptor before they are needed, one thread for all resolvers, nothing after close', async () => {
      emptyCache()
      const [{ made, cached, fetched, more, closed }] = await good('lazy', user)
      assert.deepEqual({ made, cached, fetched }, { made: [0, 0], cached: [0, 0], fetched: 1 })
      assert.deepEqual(more, [1, true])
      assert.ok(closed <= 0, `${closed} descriptors more than before`)
    })

    test('forgotten resolvers are collected', async () => {
      const [{ open, left }] = await good('collected', user)
      assert.ok(open >= 150, `${open}`)
      // A few are still on the stack or in an inline cache.
      assert.ok(left <= 10, `${left} of ${open} left`)
    })

    test('a lookup completes although nobody has the resolver any more', async () => {
      assert.deepEqual(await good('dropped', user), ['enforce'])
    })

    test('worker.terminate with lookups under way', async () => {
      // Root forks a child for each lookup that needs the network, which takes its time.
      const [times, many] = user === 'root' ? ['8', '40'] : ['24', '200']
      assert.deepEqual(await good('terminated', user, times, many), [{ threads: 0, mode: 'enforce' }])
    })

    test('twenty workers at once', async () => {
      const [{ ends, threads }] = await good('workers', user, '20')
      assert.equal(threads, 0)
      assert.equal(ends.length, 20)
      for (const end of ends) assert.deepEqual(end, { code: 0, said: [['enforce', 'testing', 'none']] })
    })

    test('a cluster', async () => {
      const [{ said, ends }] = await good('cluster', user, '3')
      assert.deepEqual(said, Array(3).fill(['enforce', 'testing', 'none']))
      assert.deepEqual(ends, [0, 0, 0])
    })

    test('no descriptor is left', async () => {
      emptyCache()
      const [{ failed, after }] = await good('exhausted', user)
      assert.deepEqual(failed, { code: 'ERR_MTASTS_UNAVAILABLE', name: 'MtaStsError' })
      assert.equal(after, 'testing')
    })
  })
}

test('a log that throws', async () => {
  const said = await good('badlog', 'nobody')
  assert.deepEqual(said.sort(), ['enforce', { uncaught: 'the log is full' }].sort())
})

for (const how of ['one by one', 'at once']) {
  test(`the loop has its turns while 5000 cached domains are looked up, ${how}`, async () => {
    emptyCache()
    const [{ answers, turns }] = await good('cached', 'nobody', how, '5000')
    assert.equal(answers, 5000)
    assert.ok(turns >= 5, `${turns} turns`)
  })
}

test('files do not wait for 5000 lookups, and the loop has its turns when they complete', async () => {
  const [{ least, still, submitted, alone, meanwhile, stood, codes }] = await good('pool', 'nobody', '5000')
  assert.deepEqual(codes, ['ERR_MTASTS_UNAVAILABLE', 'answered'])
  assert.deepEqual({ least, still }, { least: 5000, still: 5000 })
  const ms = (time) => `${time.toFixed(1)} ms`
  console.log(
    `5000 lookups submitted in ${ms(submitted)}; meanwhile a file took ${ms(meanwhile)} at most, alone ${ms(alone)}`,
  )
  console.log(`they completed at once, and the loop stood still for ${ms(stood)} at most`)
  // A blocking lookup in each of the pool's four threads would make a file wait for 6 seconds, and thousands for hours.
  assert.ok(meanwhile < 2000, ms(meanwhile))
  assert.ok(stood < 2000, ms(stood))
})
