"""dm_control's suite from pixels, before plain, generated or filmed backgrounds."""
