import mtasts from './index.js'

export const {
  Action,
  Answer,
  Attempt,
  Mode,
  MtaStsError,
  Resolver,
  ResultType,
  Source,
  checkServerIdentity,
  fromNode,
  lookup,
  lookupCached,
  recheck,
  verifyCertificate,
  version,
} = mtasts
export default mtasts
