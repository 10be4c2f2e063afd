package platform

// RunContractCase runs a case of PlatformContractBattery, and returns its rule and its
// failure.
func RunContractCase(name string, f Fixture) (rule string, failure error) {
	for _, c := range contractCases() {
		if c.name == name {
			return c.rule.says, c.run(f, BatteryOptions{}.withDefaults())
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
