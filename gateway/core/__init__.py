"""The ground floor: types only. Imports nothing of ours, and no SDK."""
