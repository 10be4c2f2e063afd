//go:build !race

package service

const raceFactor = 1
