package platform

// RunContractCase runs a case of PlatformContractBattery, and returns its failure and the
// rule of the case.
func RunContractCase(name string, f Fixture) (failure error, rule string) {
	for _, c := range contractCases() {
		if c.name == name {
			return c.run(f, BatteryOptions{}.withDefaults()), c.rule.says
		}
	}
	panic("no such case: " + name)
}

// ContractCases returns the names of the cases of PlatformContractBattery.
func ContractCases() (names []string) {
	for _, c := range contractCases() {
		names = append(names, c.name)
	}
	return names
}
