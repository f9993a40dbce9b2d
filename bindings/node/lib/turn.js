'use strict'

// The turns of the event loop. The lookup of a cached domain is done on the calling thread, and promises alone give the
// loop no turn: a program that looks thousands up would keep all else waiting.

// How long lookups may take of one turn, in milliseconds.
const SHARE = 10

// When the lookups of this turn began.
let begun = null
// Those that wait for a later one.
const waiting = []

// Nothing if this turn has time for a lookup, else a promise of one that has.
function take() {
  const now = performance.now()
  if (begun === null) {
    begun = now
    setImmediate(next)
  }
  if (waiting.length === 0 && now - begun <= SHARE) return undefined
  return new Promise((resolve) => waiting.push(resolve))
}

async function next() {
  if (waiting.length === 0) {
    begun = null
    return
  }
  begun = performance.now()
  setImmediate(next)
  while (waiting.length > 0 && performance.now() - begun <= SHARE) {
    waiting.shift()()
    // What waited goes on here.
    await null
  }
}

module.exports = { take }
