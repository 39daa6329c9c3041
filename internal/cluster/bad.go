package cluster

// Unreadable tells whether one of the documents that decide what runs of a model (spec, deployment, placement) is
// stored but cannot be decoded, and which and why. Whatever runs of such a model is left alone: "cannot be read" is
// never "was deleted".
func (s *State) Unreadable(uid string) (string, bool) {
	if s.Bad.Len() == 0 {
		return "", false
	}
	for _, key := range [...]string{"/models/" + uid + "/spec", "/deployments/" + uid, "/placements/" + uid} {
		if bad, ok := s.Bad.Value(key); ok {
			return key + " cannot be read: " + bad.Err, true
		}
	}
	return "", false
}
