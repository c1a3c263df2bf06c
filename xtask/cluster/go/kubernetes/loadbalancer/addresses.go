package main

import (
	"net/netip"

	"k8s.io/client-go/tools/cache"
)

// addresses knows who has which address of the pool.
type addresses struct {
	pool      netip.Prefix
	automatic netip.Prefix
	// next is where the search for a free address goes on: one that was just given back is not
	// handed out again soon, so that nobody meets the packets of its former owner.
	next     netip.Addr
	owner    map[netip.Addr]cache.ObjectName
	assigned map[cache.ObjectName]netip.Addr
}

func newAddresses(pool, automatic netip.Prefix) *addresses {
	return &addresses{
		pool:      pool.Masked(),
		automatic: automatic.Masked(),
		next:      automatic.Masked().Addr(),
		owner:     map[netip.Addr]cache.ObjectName{},
		assigned:  map[cache.ObjectName]netip.Addr{},
	}
}

// get returns the address of a Service: the one that it asks for, if it is free, or any.
func (a *addresses) get(name cache.ObjectName, asked string) (netip.Addr, bool) {
	have, ok := a.assigned[name]
	if asked == "" {
		if ok {
			return have, true
		}
		return a.any(name)
	}
	address, err := netip.ParseAddr(asked)
	if err == nil && ok && have == address {
		return have, true
	}
	a.release(name)
	if err != nil || !a.take(name, address) {
		return netip.Addr{}, false
	}
	return address, true
}

// any takes a free address.
func (a *addresses) any(name cache.ObjectName) (netip.Addr, bool) {
	start := a.next
	for {
		a.next = a.next.Next()
		if !a.automatic.Contains(a.next) {
			a.next = a.automatic.Addr()
		}
		if a.next != a.automatic.Addr() && a.take(name, a.next) {
			return a.next, true
		}
		if a.next == start {
			return netip.Addr{}, false
		}
	}
}

// take gives an address to a Service, unless it is another's or not of the pool.
func (a *addresses) take(name cache.ObjectName, address netip.Addr) bool {
	if _, taken := a.owner[address]; taken || !a.pool.Contains(address) {
		return false
	}
	a.owner[address] = name
	a.assigned[name] = address
	return true
}

func (a *addresses) release(name cache.ObjectName) {
	if address, ok := a.assigned[name]; ok {
		delete(a.owner, address)
		delete(a.assigned, name)
	}
}
