'use strict'

// The addon: one binary for each platform, in a package of its own of which npm installs the one that fits.

const { version } = require('../package.json')

const { platform, arch } = process

// npm before 9.6.5 installs the packages for both C libraries: the wrong one does not load.
const libcs = platform === 'linux' ? ['gnu', 'musl'] : []
const supported = libcs.length > 0 && ['x64', 'arm64'].includes(arch)

function load() {
  const reasons = []
  // The first stands in a working copy alone, after `make`.
  const places = ['../mtasts.node', ...libcs.map((libc) => `@mtasts/${platform}-${arch}-${libc}`)]
  for (const place of places) {
    let addon
    try {
      addon = require(place)
    } catch (error) {
      const absent = error.code === 'MODULE_NOT_FOUND' && error.message.includes(`'${place}'`)
      if (!absent) reasons.push(`${place}: ${error.message}`)
      continue
    }
    if (addon.version() === version) return addon
    reasons.push(`${place} is of version ${addon.version()}, and this is mtasts ${version}`)
  }
  const error = new Error(explain(reasons))
  error.code = 'ERR_MTASTS_ADDON'
  throw error
}

function explain(reasons) {
  if (!supported) return `mtasts runs on Linux on x64 and arm64; this is ${platform} on ${arch}`
  const name = `@mtasts/${platform}-${arch}-${libc()}`
  const install = `npm install ${name}@${version}`
  if (reasons.length > 0) return `mtasts cannot load its addon (${reasons.join('; ')}); try: ${install}`
  return (
    `mtasts needs the package ${name}, which is not installed; try: ${install}` +
    ' (npm leaves it out with --omit=optional, and where node_modules or package-lock.json comes from another platform)'
  )
}

function libc() {
  return process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'
}

module.exports = load()
