//go:build !race

package simulate

const defaultSeeds = 4000
