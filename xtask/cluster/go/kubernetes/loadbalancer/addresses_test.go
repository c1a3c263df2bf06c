package main

import (
	"net/netip"
	"testing"

	"k8s.io/client-go/tools/cache"
)

func name(text string) cache.ObjectName {
	return cache.NewObjectName("default", text)
}

func pool() *addresses {
	return newAddresses(netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.0/30"))
}

func expect(t *testing.T, a *addresses, service, asked, expected string) {
	t.Helper()
	got := ""
	if address, ok := a.get(name(service), asked); ok {
		got = address.String()
	}
	if got != expected {
		t.Errorf("%s asked for %q: got %q, expected %q", service, asked, got, expected)
	}
}

func TestEachServiceHasAnAddressOfItsOwnAndKeepsIt(t *testing.T) {
	a := pool()
	expect(t, a, "one", "", "10.0.0.1")
	expect(t, a, "two", "", "10.0.0.2")
	expect(t, a, "one", "", "10.0.0.1")
}

func TestAnAddressThatIsAskedForIsGivenOnlyOfThePoolAndOnlyOnce(t *testing.T) {
	a := pool()
	expect(t, a, "one", "10.0.0.200", "10.0.0.200")
	expect(t, a, "two", "10.0.0.200", "")
	expect(t, a, "two", "192.0.2.1", "")
	expect(t, a, "two", "nonsense", "")
	expect(t, a, "two", "10.0.0.201", "10.0.0.201")
}

func TestAReleasedAddressIsTheLastToBeGivenAgain(t *testing.T) {
	a := pool()
	expect(t, a, "one", "", "10.0.0.1")
	a.release(name("one"))
	expect(t, a, "two", "", "10.0.0.2")
	expect(t, a, "three", "", "10.0.0.3")
	expect(t, a, "four", "", "10.0.0.1")
	expect(t, a, "five", "", "")
}

func TestAnAddressInUseIsNotGivenToTheNext(t *testing.T) {
	a := pool()
	if !a.take(name("adopted"), netip.MustParseAddr("10.0.0.1")) {
		t.Fatal("a free address cannot be adopted")
	}
	expect(t, a, "one", "", "10.0.0.2")
}
