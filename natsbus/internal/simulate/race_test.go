//go:build race

package simulate

// defaultSeeds are fewer where each takes three times as long.
const defaultSeeds = 2000
