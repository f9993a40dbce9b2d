import mtasts from './index.js'

export const {
  Action,
  Answer,
  Mode,
  MtaStsError,
  Resolver,
  ResultType,
  checkServerIdentity,
  failureFromNode,
  lookup,
  lookupCached,
  matchMx,
  recheck,
  verdict,
  verifyCertificate,
  version,
} = mtasts
export default mtasts
