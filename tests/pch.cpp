// Owns the precompiled header that all test files share.
