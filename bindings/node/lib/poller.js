'use strict'

// Who waits for lookups: one thread of the addon for this environment, from the first lookup that needs the network.
// The process does not end by itself as long as a lookup is under way.

const addon = require('./addon')
const { call } = require('./error')

let poller
let last = 0
// What to do for each resolver with lookups under way. This keeps it from being collected, too.
const waiting = new Map()

function number() {
  last += 1
  return last
}

// Calls `take` when there is a completion: once.
function wait(number, resolver, take) {
  poller ??= call(() => new addon.Poller((number) => waiting.get(number)?.()))
  call(() => resolver.watch(poller, number))
  if (waiting.size === 0) poller.hold()
  waiting.set(number, take)
}

// Waits no more.
function end(number) {
  if (waiting.delete(number) && waiting.size === 0) poller.release()
}

module.exports = { end, number, wait }
