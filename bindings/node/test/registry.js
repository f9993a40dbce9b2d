'use strict'

// A registry of npm's, with the packages that it is given, on the loopback.

const crypto = require('node:crypto')
const fs = require('node:fs')
const http = require('node:http')

// `packages` are { manifest, file }; without a file the tarball is none that can be had. `fetched` fills with the names
// of those whose tarballs were asked for.
async function registry(packages) {
  const fetched = []
  const server = http.createServer((request, response) => {
    const [, tarball, name] = decodeURIComponent(request.url).match(/^\/(-\/)?(.*)$/)
    const found = packages.find(({ manifest }) => manifest.name === name)
    if (tarball) fetched.push(name)
    if (!found || (tarball && !found.file)) return response.writeHead(404).end()
    const { manifest, file } = found
    if (tarball) return fs.createReadStream(file).pipe(response)
    const hash = file ? crypto.createHash('sha512').update(fs.readFileSync(file)).digest('base64') : ''
    const dist = {
      tarball: `http://${request.headers.host}/-/${encodeURIComponent(name)}`,
      integrity: `sha512-${hash}`,
    }
    const versions = { [manifest.version]: { ...manifest, dist } }
    response.setHeader('content-type', 'application/json')
    return response.end(JSON.stringify({ name, 'dist-tags': { latest: manifest.version }, versions }))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${server.address().port}/`, fetched, close: () => server.close() }
}

module.exports = { registry }
