import haraka from '@haraka/eslint-config'

export default [{ ignores: ['**/*.d.ts', '**/*.d.mts', 'test/types/'] }, ...haraka]
