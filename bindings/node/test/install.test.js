'use strict'

// What is published, installed by npm as a stranger does: no script, no compiler, no source.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, before, test } = require('node:test')

const { run } = require('./lab')
const { registry } = require('./registry')

const ROOT = path.join(__dirname, '..')
const PLATFORMS = ['linux-arm64-gnu', 'linux-arm64-musl', 'linux-x64-gnu', 'linux-x64-musl']
const libc = process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'
const PLATFORM = `linux-${process.arch}-${libc}`
const NAME = `@mtasts/${PLATFORM}`
const bench = fs.mkdtempSync(path.join(process.env.MTASTS_LAB_DIR, 'install-'))
const out = path.join(bench, 'out')

const json = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))
const main = json(path.join(ROOT, 'package.json'))
const manifests = PLATFORMS.map((platform) => json(path.join(ROOT, 'npm', platform, 'package.json')))
const tarball = (name) => path.join(out, `${name.replace('@', '').replace('/', '-')}-${main.version}.tgz`)

// Nothing but Node and npm.
const bin = path.join(bench, 'bin')
const env = { PATH: bin, HOME: bench, npm_config_cache: path.join(bench, 'cache'), npm_config_update_notifier: 'false' }
let packages

const node = (cwd, ...args) => run(process.execPath, args, { cwd, env })

// Installs into an empty directory.
async function install(...options) {
  const directory = fs.mkdtempSync(path.join(bench, 'installed-'))
  fs.writeFileSync(path.join(directory, 'package.json'), '{}')
  const args = [
    'install',
    'mtasts',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    `--registry=${packages.url}`,
    ...options,
  ]
  const { code, stderr } = await run(path.join(bin, 'npm'), args, { cwd: directory, env })
  assert.equal(code, 0, stderr)
  return directory
}

async function refusal(directory) {
  const { code, stderr } = await node(directory, '-e', 'require("mtasts")')
  assert.equal(code, 1)
  assert.match(stderr, /code: 'ERR_MTASTS_ADDON'/)
  return stderr
}

before(async () => {
  fs.mkdirSync(path.join(bench, 'addons', PLATFORM), { recursive: true })
  fs.copyFileSync(path.join(ROOT, 'mtasts.node'), path.join(bench, 'addons', PLATFORM, 'mtasts.node'))
  const made = await run('make', ['-C', ROOT, 'pack', `ADDONS=${path.join(bench, 'addons')}`, `OUT=${out}`])
  assert.equal(made.code, 0, made.stderr)
  fs.mkdirSync(bin)
  fs.symlinkSync(process.execPath, path.join(bin, 'node'))
  const npm = process.env.PATH.split(':').map((directory) => path.join(directory, 'npm'))
  fs.symlinkSync(fs.realpathSync(npm.find((file) => fs.existsSync(file))), path.join(bin, 'npm'))
  packages = await registry([
    { manifest: main, file: tarball(main.name) },
    ...manifests.map((manifest) => ({ manifest, file: manifest.name === NAME ? tarball(NAME) : undefined })),
  ])
})

after(() => {
  packages.close()
  fs.rmSync(bench, { recursive: true })
})

test('all packages have one version, that of the library, and fit each other', () => {
  const cargo = fs.readFileSync(path.join(ROOT, '../../Cargo.toml'), 'utf8')
  const version = /^version = "(.*)"$/m.exec(cargo)[1]
  assert.equal(main.version, version)
  assert.deepEqual(main.optionalDependencies, Object.fromEntries(manifests.map(({ name }) => [name, version])))
  for (const [n, manifest] of manifests.entries()) {
    assert.equal(manifest.version, version)
    const [os, cpu, c] = PLATFORMS[n].split('-')
    assert.deepEqual([manifest.os, manifest.cpu, manifest.libc], [[os], [cpu], [c === 'gnu' ? 'glibc' : c]])
    assert.equal(manifest.name, `@mtasts/${PLATFORMS[n]}`)
    assert.equal(manifest.scripts, undefined)
  }
  for (const script of Object.keys(main.scripts ?? {})) assert.doesNotMatch(script, /install|prepare/)
})

test('what is in the tarballs', async () => {
  const list = async (name) => {
    const { stdout } = await run('tar', ['-tzf', tarball(name)])
    return stdout
      .trim()
      .split('\n')
      .map((file) => file.replace('package/', ''))
      .sort()
  }
  const licences = ['LICENSE', 'LICENSE-APACHE', 'LICENSE-MIT']
  const own = ['CHANGELOG.md', 'README.md', 'index.d.mts', 'index.d.ts', 'index.js', 'index.mjs', 'package.json']
  const lib = fs.readdirSync(path.join(ROOT, 'lib')).map((file) => `lib/${file}`)
  assert.deepEqual(await list('mtasts'), [...licences, ...own, ...lib].sort())
  const addon = [...licences, 'mtasts.node', 'package.json', 'third-party-licences.txt']
  assert.deepEqual(await list(NAME), addon.sort())
  // The crates in it by a third way, beside tests/packages.rs: messages of panics name their files.
  const { stdout } = await run('tar', ['-xzOf', tarball(NAME), 'package/third-party-licences.txt'])
  const source = /\/registry\/src\/[^/]+\/([\w-]+?)-(\d+\.\d+\.\d+[^/]*)\//g
  const binary = fs.readFileSync(path.join(ROOT, 'mtasts.node'), 'latin1')
  const crates = new Set([...binary.matchAll(source)].map(([, name, version]) => `${name} ${version}`))
  assert.ok(crates.size > 10, [...crates].join())
  for (const crate of crates) assert.ok(stdout.includes(`\n${crate} (`), crate)
})

test('npm takes the package for this platform alone, and it works', async () => {
  packages.fetched.length = 0
  const directory = await install()
  assert.deepEqual(packages.fetched.sort(), [NAME, 'mtasts'])
  assert.deepEqual(fs.readdirSync(path.join(directory, 'node_modules/@mtasts')), [PLATFORM])

  const program = (load) => `${load}; lookup('good.test').then(({ mode }) => console.log(version, mode))`
  for (const args of [
    ['-e', program(`const { lookup, version } = require('mtasts')`)],
    ['--input-type=module', '-e', program(`import { lookup, version } from 'mtasts'`)],
    ['--input-type=module', '-e', program(`import mtasts from 'mtasts'; const { lookup, version } = mtasts`)],
  ]) {
    const { code, stdout, stderr } = await node(directory, ...args)
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${main.version} enforce\n`, stderr: '' })
  }
})

test('TypeScript knows the package', async () => {
  const directory = await install()
  for (const file of ['usage.mts', 'usage.cts']) {
    fs.copyFileSync(path.join(__dirname, 'types', file), path.join(directory, file))
  }
  const options = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      strict: true,
      noUnusedLocals: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [path.join(__dirname, 'node_modules/@types')],
    },
  }
  fs.writeFileSync(path.join(directory, 'tsconfig.json'), JSON.stringify(options))
  const tsc = path.join(__dirname, 'node_modules/typescript/bin/tsc')
  const { code, stdout, stderr } = await node(directory, tsc, '-p', '.')
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' })
})

test('the types name all that there is', () => {
  const types = fs.readFileSync(path.join(ROOT, 'index.d.ts'), 'utf8')
  const mtasts = require('..')
  const exported = [...types.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual([...new Set(exported)].sort(), Object.keys(mtasts).sort())
  for (const words of [mtasts.ResultType, mtasts.Mode, mtasts.Action, mtasts.Source]) {
    for (const [name, word] of Object.entries(words)) assert.ok(types.includes(`${name}: '${word}'`), name)
  }
  for (const { prototype, name } of [mtasts.Answer, mtasts.Attempt, mtasts.Resolver]) {
    const body = types.slice(
      types.indexOf(`export class ${name}`),
      types.indexOf('\n}', types.indexOf(`export class ${name}`)),
    )
    for (const member of Object.getOwnPropertyNames(prototype)) {
      assert.match(body, new RegExp(`\\b${member}[(:]`), `${name}.${member}`)
    }
  }
})

test('without the package of the platform', async () => {
  const directory = await install('--omit=optional')
  const error = await refusal(directory)
  assert.ok(error.includes(`npm install ${NAME}@${main.version}`), error)
  assert.match(error, /which is not installed/)
})

test('with one of another version, or one that does not load', async () => {
  const directory = await install()
  const addon = path.join(directory, 'node_modules', NAME, 'mtasts.node')
  const manifest = path.join(directory, 'node_modules/mtasts/package.json')
  fs.writeFileSync(manifest, JSON.stringify({ ...main, version: '9.9.9' }))
  assert.match(await refusal(directory), /is of version \d+\.\d+\.\d+, and this is mtasts 9\.9\.9/)
  fs.writeFileSync(addon, 'no addon')
  assert.match(await refusal(directory), /cannot load its addon \(@mtasts\/.*(too short|invalid ELF)/)
})

test('on another platform', async () => {
  const directory = await install('--omit=optional')
  const other = `Object.defineProperty(process, 'platform', { value: 'darwin' }); require('mtasts')`
  const { stderr } = await node(directory, '-e', other)
  assert.match(stderr, /mtasts runs on Linux on x64 and arm64; this is darwin on/)
})
