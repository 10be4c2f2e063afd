//go:build race

package simulate

// defaultSeeds are few where each takes ten times as long.
const defaultSeeds = 300
