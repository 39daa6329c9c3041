package api

import "encoding/json"

// olderPlace are the other names that clients of Nebula have for where a model is to run: those that deployments are stored with, and version 1's
// gpu_index. In what is sent, node_id and gpu_indices hold where both are given; of the others gpu_affinity comes before gpu_index.
type olderPlace struct {
	NodeAffinity *string  `json:"node_affinity"`
	GPUAffinity  []uint32 `json:"gpu_affinity"`
	GPUIndex     *uint32  `json:"gpu_index"`
}

// fill reads the older names of b where the newer ones have said nothing, which is nil.
func (olderPlace) fill(b []byte, node **string, gpus *[]uint32) error {
	var o olderPlace
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	if *node == nil {
		*node = o.NodeAffinity
	}
	switch {
	case *gpus != nil:
	case o.GPUAffinity != nil:
		*gpus = o.GPUAffinity
	case o.GPUIndex != nil:
		*gpus = []uint32{*o.GPUIndex}
	}
	return nil
}

// fillPlace is fill for a body in which an empty node says nothing.
func fillPlace(b []byte, node *string, gpus *[]uint32) error {
	var named *string
	if *node != "" {
		named = node
	}
	if err := (olderPlace{}).fill(b, &named, gpus); err != nil || named == nil {
		return err
	}
	*node = *named
	return nil
}

// UnmarshalJSON also accepts the older names of node_id and gpu_indices.
func (s *StartModel) UnmarshalJSON(b []byte) error {
	type plain StartModel
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*s = StartModel(v)
	return olderPlace{}.fill(b, &s.NodeID, &s.GPUIndices)
}

// UnmarshalJSON also accepts the older names of node_id and gpu_indices.
func (p *PutDeployment) UnmarshalJSON(b []byte) error {
	type plain PutDeployment
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*p = PutDeployment(v)
	return fillPlace(b, &p.NodeID, &p.GPUIndices)
}

// UnmarshalJSON also accepts the older names of node_id and gpu_indices.
func (d *DeployTemplate) UnmarshalJSON(b []byte) error {
	type plain DeployTemplate
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*d = DeployTemplate(v)
	return fillPlace(b, &d.NodeID, &d.GPUIndices)
}
