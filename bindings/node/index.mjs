import mtasts from './index.js'

export const {
  Action,
  Answer,
  Mode,
  MtaStsError,
  Resolver,
  ResultType,
  allowsMx,
  checkServerIdentity,
  fromNode,
  lookup,
  lookupCached,
  recheck,
  verdict,
  verifyCertificate,
  version,
} = mtasts
export default mtasts
