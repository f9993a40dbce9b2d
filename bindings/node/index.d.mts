import * as mtasts from './index.js'

export * from './index.js'
export default mtasts
